"""Image files: headers, decoding of as much as is needed, damage, health."""
