"""Demonstrations on data that packages ship: one file a task."""
