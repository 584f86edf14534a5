"""The names of the team's scripts, on the same code as ``run`` (SPEC 9)."""
