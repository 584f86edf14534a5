"""The observers of a run: figures for Prometheus, alerts, traces. None of them may change what the run does."""
