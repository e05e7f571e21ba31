"""Programs that a row starts in a process of their own, ours and the peers'."""
