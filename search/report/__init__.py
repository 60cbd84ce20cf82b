"""What a finished search looks like: table, figures, page, best backbone. Reads the store only."""
