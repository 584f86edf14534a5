"""The same run over a cluster: who hands chunks out, what travels, what a worker does. One machine needs none of it."""
