"""The training loop and its parts: step, feed, LR range, checkpoint, optimisers."""
