"""Checks, piece by piece, that the body fits the model; a body that does not is never sent (SPEC 4).

Decoding each finished body against the model took longer than building it, and looking at the types of all its fields
a seventh of that. So each piece is checked once, where it is made: the body's constant rest by the model's own decoder
(``envelope``), a value where it is converted (``convert``: to exactly the type that its field has), a timestamp where
it is written (``checked_timestamp``). The type checker sees to it that each field gets a value of its type.
"""

import re
from typing import get_args

from incident_process.core.errors import DataProcessingError
from incident_process.document import incident_model

_TIMESTAMP = re.compile(get_args(incident_model.Timestamp)[1].pattern)


def checked_timestamp(text: str) -> str:
    """Return the text of a timestamp if it has the model's form; raise DataProcessingError otherwise."""
    if _TIMESTAMP.search(text) is None:
        raise contract_error("a timestamp is not of the model's form")
    return text


def contract_error(why: str) -> DataProcessingError:
    """Return the error for a document that does not fit."""
    return DataProcessingError(f"the document does not fit the incident contract: {why}")
