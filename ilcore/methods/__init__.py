"""The catalogue: methods as declared compositions. The only place where parts meet."""
