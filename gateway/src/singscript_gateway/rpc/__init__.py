"""The gRPC side of the API's process: `singscript.gateway.v1.JobService`."""
