"""One volume, from plan to record."""
