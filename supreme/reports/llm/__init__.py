"""Statements to entities by a language model: prompt, calls, checked replies and their cache."""
