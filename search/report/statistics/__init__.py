"""Intervals, comparisons, factors: numbers of the report."""
