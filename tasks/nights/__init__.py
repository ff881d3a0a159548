"""Nights: what a night over an archive does besides the runs themselves."""
