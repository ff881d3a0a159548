"""Which image comes out."""
