"""Planning: from a source and what is asked to a plan that says everything."""
