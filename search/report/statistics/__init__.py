"""The report's statistics: intervals, comparisons, factors, course."""
