"""Claims of textbooks about recurrent networks, each run as an experiment with a verdict."""
