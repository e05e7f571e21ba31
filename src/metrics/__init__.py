"""Multi-label scores: pure functions on counts and score matrices, and the shells that gather them."""
