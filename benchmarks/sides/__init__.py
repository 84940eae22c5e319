"""One module for each side; each runs one row in a process of its own (see `protocol`)."""
