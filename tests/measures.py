"""The measure that most spaces name, and scores of it alone, for tests."""

from trainables.downstream.measures import MEASURES

BALANCED = MEASURES["balanced_accuracy"]
scored = BALANCED.score  # value, low, high -> Score
