"""Prefect tasks: one thin file per stage, plus the cluster and the tracker."""
