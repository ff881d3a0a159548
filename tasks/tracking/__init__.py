"""Tracking: runs told to MLflow, at once or later."""
