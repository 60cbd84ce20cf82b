"""The Ray Train worker and its messages; the only importer of ray in `trainables`."""
