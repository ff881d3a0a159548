"""Environment: how our processes are set up, and what the machine around them must offer."""
