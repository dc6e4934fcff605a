"""Uploads that may be cut at any byte and go on, on any replica: what is known of them, and their parts in storage."""
