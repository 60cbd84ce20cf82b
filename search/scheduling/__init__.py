"""What to train next of all that is known."""
