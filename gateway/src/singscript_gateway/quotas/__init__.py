"""How much users and their keys may use: limits, what was used, and refusals. Counted in Postgres, for all replicas."""
