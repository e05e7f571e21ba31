"""Images from tar shards, local or remote, in windows of shards."""
