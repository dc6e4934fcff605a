"""Weights of Whisper networks: found, downloaded, converted. For each service that has an engine which uses them."""
