"""Prefect tasks: one thin file per stage, plus the cluster and the tracker."""

from tasks.environment import settings

# Prefect and MLflow read their settings when they are imported, so these must stand before that.
settings.apply()
