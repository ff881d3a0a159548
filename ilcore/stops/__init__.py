"""When is enough? Every rule returns its reason, tile by tile."""
