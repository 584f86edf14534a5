"""Delivery over HTTP: what an answer means, when to retry, when to stop, and the sending itself (SPEC 5)."""
