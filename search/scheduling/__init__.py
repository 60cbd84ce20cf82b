"""The choice of the next node to train, and its record."""
