"""The section of the dashboard: where it listens, who may open it, who may change something or see personal data."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from incident_process.settings.section import Section
from incident_process.settings.values import Expected, Whole

MIN_TOKEN = 16
"""The fewest characters of a token that guards the dashboard."""

_TOKEN = Expected("16 or more printable ASCII characters")


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
        description="for those who may also see personal fields, which is logged each time; without it, nobody may",
        examples=["another-long-random-text"],
    )
    allowed_hosts: str = Field(
        default="",
        description="further names under which browsers may reach it, separated by commas, such as a proxy's",
        examples=["dashboard.example.net"],
    )

    @field_validator("token", "unmask_token")
    @classmethod
    def _long(cls, value: SecretStr | None) -> SecretStr | None:
        text = value.get_secret_value() if value else ""
        if value and not (len(text) >= MIN_TOKEN and text.isascii() and text.isprintable()):
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
