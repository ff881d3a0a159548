"""What people run: the restoration flow, the pretraining flow and the `il` command."""
