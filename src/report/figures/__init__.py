"""Pictures: pure functions from a table to a matplotlib Figure, for reports, notebooks and loggers alike."""
