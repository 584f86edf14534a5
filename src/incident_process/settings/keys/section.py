"""What all sections of the configuration share."""

from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from incident_process.settings.field_types import Hidden


class Section(BaseModel):
    """One section. ``title`` heads it in the template; ``upper`` shows its keys in upper case."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    title: ClassVar[str]
    upper: ClassVar[bool] = False

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Return the fields for a repr: of an address only its place, since people put credentials into the rest."""
        for name, value in super().__repr_args__():
            field = type(self).model_fields.get(name or "")
            is_hidden = field is not None and any(isinstance(item, Hidden) for item in field.metadata)
            yield name, _shown(value) if is_hidden and isinstance(value, str) else value


def _shown(address: str) -> str:
    try:
        parts = urlsplit(address)
    except ValueError:
        return "***"
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return shown if shown == address else f"{shown}?***"
