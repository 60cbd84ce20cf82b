"""The terminal: the dry run, the live view, how the command ends."""
