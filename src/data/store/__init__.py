"""A prepared copy of the images: raw or JPEG shards, memory-mapped, and whether one pays."""
