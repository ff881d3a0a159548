"""What people run: the restoration flow, the pretraining flow and the `il` command."""

# Applies the environment defaults before any flow imports Prefect.
import tasks as tasks
