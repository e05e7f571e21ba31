"""The configuration as dataclasses: one class per variant, attribute docstrings, range checks on construction."""
