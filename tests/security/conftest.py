"""The gateway's own fixtures: real Postgres, a fresh database a test, real processes."""

from gateway_fixtures import *  # noqa: F403  (pytest finds them by their names here)
