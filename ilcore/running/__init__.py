"""Running: one volume, from plan to record."""
