"""Sections of a recipe that have rules of their own."""
