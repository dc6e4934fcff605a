"""The REST side: routes, their shapes, uploads, server-sent events, problems."""
