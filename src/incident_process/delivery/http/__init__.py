"""The HTTP client: one POST over a kept-alive connection, nothing sent twice, no byte taken for what it is not."""
