"""The labelled task at the end of a chain: fine-tune, probe, score."""
