"""The Ray Train worker and what it is told. The only importer of ray here."""
