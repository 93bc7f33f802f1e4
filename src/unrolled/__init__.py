"""Recurrent sequence models: train them from files, see what they learned, run them anywhere."""

__version__ = "0.1.0"
