"""To try things out, never in production: a local receiver, and the demo."""
