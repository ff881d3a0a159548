"""What surrounds a run: who carries it out, who keeps track, the servers, the nights, and what Prefect shows of it."""

from tasks.environment import settings

# Prefect and MLflow read their settings when they are imported, so these must stand before that.
settings.apply()
