"""The composition root and the local engine: the only place that names concrete backends."""
