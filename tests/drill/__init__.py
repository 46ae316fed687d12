"""What the set promises, kept by real processes that are stopped, killed, cut off and emptied: ``make drill``."""
