"""Jobs: their states, their plan, and where they are kept. No HTTP and no gRPC calls here."""
