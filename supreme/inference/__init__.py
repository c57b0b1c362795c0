"""Trained models as files, and the answers that they give to text queries."""
