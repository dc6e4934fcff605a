"""The work itself: fetching and decoding, each in a process of its own, and what guards them. No gRPC here."""
