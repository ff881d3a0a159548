"""Archives: which scans there are, what is to be done with each, and what was done."""
