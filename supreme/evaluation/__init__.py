"""Scores of registered models: predictions, and zero-shot evaluation against labels."""
