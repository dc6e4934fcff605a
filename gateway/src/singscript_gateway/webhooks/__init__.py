"""Telling somebody else's server that a job has ended, by the Standard Webhooks scheme."""
