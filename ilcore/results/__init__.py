"""Results: written, laid out, told in metadata, published and exported."""
