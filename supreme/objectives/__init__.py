"""What is learned from a batch: each objective is a task, a model with its loss."""
