"""The names of the team's scripts, over the code of ``run`` (SPEC 9)."""
