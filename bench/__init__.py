"""What the product does on this machine, beside what the machine can do: ``make bench``.

What each line means: docs/development/performance-notebook.md.
"""
