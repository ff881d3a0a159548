"""Keeping: results are verified, repaired and explained."""
