"""Takes jobs over REST, keeps them in Postgres, and drives the pipeline."""
