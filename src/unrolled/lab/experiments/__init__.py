"""One file an experiment: the claim, its equations, what is run, and how it is judged."""
