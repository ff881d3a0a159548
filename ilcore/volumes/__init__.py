"""Volumes: five axes, read by region, whatever they are stored in, and what they say of themselves."""
