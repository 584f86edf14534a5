"""The receiver's own description of what it takes, where it publishes one (OpenAPI), beside the contract (SPEC 7).

compare.py   what differs between a described body and the contract; pure
fetch.py     looks for the description beside and above api_url
"""

from incident_process.openapi.compare import Differences, Operation, compare, operation, posts
from incident_process.openapi.fetch import Found, descriptions

__all__ = ["Differences", "Found", "Operation", "compare", "descriptions", "operation", "posts"]
