"""What can be said of a result: without the truth for every run, with it for tests and benchmarks."""
