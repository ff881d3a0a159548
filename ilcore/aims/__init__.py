"""What is asked of a scan: one frozen object for each kind of restoration."""
