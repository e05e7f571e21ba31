"""Every claim about speed, measured against its peer: ``python -m benchmarks``."""
