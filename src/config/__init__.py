"""Typed configuration: schema, Hydra registration, checks that answer in one line. No torch here."""
