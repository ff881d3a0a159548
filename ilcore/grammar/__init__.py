"""The words of the library: problems, trials, recipes, errors. Imports nothing of ours."""
