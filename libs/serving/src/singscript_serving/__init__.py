"""One way to serve and to call gRPC, for all services: health, deadlines, errors, drain, back-pressure, logs."""
