"""What became of a search: records, frozen."""
