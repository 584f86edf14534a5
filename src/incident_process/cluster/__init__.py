"""The same run over a cluster: what the coordinator hands out, what travels, what a worker does."""
