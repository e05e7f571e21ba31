"""What watches the training loop: weight averaging, checkpoints, records, progress, signals, numerics."""
