"""What is fitted. Every layer holds one set of weights per tile, or one for all."""
