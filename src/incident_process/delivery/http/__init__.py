"""The HTTP client: one POST over a kept-alive connection; it sends nothing twice and misreads no byte."""
