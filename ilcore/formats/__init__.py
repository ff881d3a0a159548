"""Formats: one file for each that can be opened, and one door for all."""
