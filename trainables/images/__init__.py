"""Files to pixels: decoding, the cache, splits, near-duplicates."""
