"""The incident document: rows in, checked bytes out. Pure code, no I/O."""
