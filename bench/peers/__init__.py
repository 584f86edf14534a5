"""What the peers run, and their versions: they have environments of their own."""
