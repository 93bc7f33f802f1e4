"""The training loop, its losses, checkpoints and watchers. Needs the `train` extra (torch)."""
