"""From image files to pixels: decoding, the cache, splits, near-duplicates."""
