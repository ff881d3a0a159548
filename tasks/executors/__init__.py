"""Executors: where the stages of a run are carried out: Dask, here or on clusters."""
