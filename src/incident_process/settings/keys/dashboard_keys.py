"""The keys of ``[DASHBOARD]``: where it listens, who may open it, who may change something or see personal data."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field, SecretStr, field_validator

from incident_process.settings.field_types import Expected, Whole
from incident_process.settings.keys.section import Section

MIN_TOKEN = 16
"""Least characters of a token that guards the dashboard."""

_TOKEN = Expected("16 or more printable ASCII characters")
_NAME = re.compile(r"[\w.@-]{1,60}")


class Holder(NamedTuple):
    """To whom a token belongs: the name of a person, or the key of a token that several people share."""

    name: str
    is_person: bool
    may_unmask: bool


def _named(value: Any) -> Any:
    """Read lines of ``NAME: TOKEN``, or check a mapping in the same way.

    Raises:
        ValueError: A line has another form, or its token is easy to guess. The message gives its number, not its text.
    """
    if isinstance(value, str):
        lines = filter(None, map(str.strip, value.splitlines()))
        pairs = [(name.strip(), token.strip()) for name, _, token in (line.partition(":") for line in lines)]
    elif isinstance(value, Mapping):
        pairs = [
            (str(name), token.get_secret_value() if isinstance(token, SecretStr) else str(token))
            for name, token in value.items()
        ]
    else:
        return value
    found: dict[str, SecretStr] = {}
    for place, (name, token) in enumerate(pairs, start=1):
        if not (_NAME.fullmatch(name) and token):
            raise ValueError(f"has no name and token in its line {place}: write one `NAME: TOKEN` a line")
        if not _is_hard_to_guess(token):
            raise ValueError(
                f"has a token that is easy to guess in its line {place}: give {MIN_TOKEN} or more printable ASCII "
                "characters"
            )
        if name in found:
            raise ValueError(f"has a name for a second time in its line {place}: give each person one line")
        found[name] = SecretStr(token)
    return found


_Named = Annotated[Mapping[str, SecretStr], BeforeValidator(_named), Expected("one `NAME: TOKEN` a line")]


def _is_hard_to_guess(token: str) -> bool:
    return len(token) >= MIN_TOKEN and token.isascii() and token.isprintable()


class Dashboard(Section):
    """``[DASHBOARD]``: the web page, who may open it, and who may change something or see personal data."""

    title = "The web page of the command dashboard"

    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="address to listen on; any but this machine's own (127.0.0.1) needs a token",
    )
    port: Whole = Field(default=8090, ge=0, le=65535, description="TCP port; 0: any free one")
    token: Annotated[SecretStr | None, _TOKEN] = Field(
        default=None,
        description="asked for before anything is shown or changed; without it, the page can only be read",
        examples=["a-long-random-text"],
    )
    unmask_token: Annotated[SecretStr | None, _TOKEN] = Field(
        default=None,
        description="lets its owner also see personal fields, which is logged each time; without it, no user may",
        examples=["another-long-random-text"],
    )
    tokens: _Named = Field(
        default={},
        description="tokens like token, one for each person, each further line indented; the log names whose it was",
        examples=["ada: a-long-random-text"],
    )
    unmask_tokens: _Named = Field(
        default={},
        description="tokens like unmask_token, one for each person, each further line indented",
        examples=["grace: another-long-random-text"],
    )
    allowed_hosts: str = Field(
        default="",
        description="further names under which browsers may reach it, separated by commas, such as a proxy's",
        examples=["dashboard.example.net"],
    )

    @field_validator("token", "unmask_token")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        if value and not _is_hard_to_guess(value.get_secret_value()):
            raise ValueError(f"is no token that is hard to guess: give {MIN_TOKEN} or more printable ASCII characters")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _names(cls, value: str) -> str:
        if set(value) & set("/@*"):
            raise ValueError("holds more than host names: give names alone, separated by commas")
        return value

    @property
    def names(self) -> frozenset[str]:
        """``allowed_hosts`` one by one, in lower case."""
        return frozenset(name.strip().lower() for name in self.allowed_hosts.split(",") if name.strip())

    @property
    def has_token(self) -> bool:
        """Whether any token lets a user sign in."""
        return self.token is not None or bool(self.tokens)

    @property
    def has_unmask_token(self) -> bool:
        """Whether any token lets a user see personal fields."""
        return self.unmask_token is not None or bool(self.unmask_tokens)

    @property
    def holders(self) -> Iterator[tuple[str, Holder]]:
        """Every token that is set, in the clear, and whose it is."""
        for key, may_unmask in (("token", False), ("unmask_token", True)):
            shared: SecretStr | None = getattr(self, key)
            if shared is not None:
                yield shared.get_secret_value(), Holder(key, is_person=False, may_unmask=may_unmask)
            own: Mapping[str, SecretStr] = getattr(self, f"{key}s")
            for name, token in own.items():
                yield token.get_secret_value(), Holder(name, is_person=True, may_unmask=may_unmask)
