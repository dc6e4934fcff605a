"""Requests to addresses that somebody else names: to the public internet, and to what the operator opened."""
