"""What the product does on this machine, beside what the machine can do: ``make bench``, docs/performance.md."""
