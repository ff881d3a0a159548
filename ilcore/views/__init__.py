"""What pairs (input, target, trusted) are drawn from the observation."""
