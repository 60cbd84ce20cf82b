"""The downstream task that judges a chain: fine-tune, probe, score."""
