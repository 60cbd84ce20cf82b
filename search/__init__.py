"""Decide what to train next, keep what was trained, show what it means. Imports no torch."""
