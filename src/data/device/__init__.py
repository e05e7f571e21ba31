"""Pixels that are decoded, kept or painted on the device instead of in loader processes."""
