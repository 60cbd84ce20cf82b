"""The stage store: finished stages by key, and whether they are as they were committed."""
