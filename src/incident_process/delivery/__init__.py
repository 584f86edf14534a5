"""Delivery over HTTP: what an answer means, when to try again, when to stop, and the sending itself (SPEC 5)."""
