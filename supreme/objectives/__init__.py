"""Training objectives: each is a task, a model with its loss."""
