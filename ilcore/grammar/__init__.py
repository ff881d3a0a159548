"""The words of the library: problems, steps, recipes, errors. Imports nothing of ours."""
