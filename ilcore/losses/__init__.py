"""What is asked of the output: one number per tile."""
