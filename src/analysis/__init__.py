"""What labels, scores and runs say: numpy and pandas only, no torch."""
