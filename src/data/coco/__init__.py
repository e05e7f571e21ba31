"""Instances jsons: read, checked, and kept as columns that all processes map."""
