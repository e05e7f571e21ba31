"""Losses for independent labels: pure functions, imbalance weights, modules."""
