"""Stores: addresses and places, locks, and several requests at once."""
