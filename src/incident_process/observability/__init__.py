"""Who looks on while a run is at work: figures for Prometheus, alerts, traces. None of them may change what it does."""
