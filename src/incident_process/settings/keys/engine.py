"""The keys of ``[ENGINE]``: on how many processes and machines a run's chunks are processed."""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from incident_process.settings.field_types import LOWER, Expected, Hidden, Whole
from incident_process.settings.keys.section import Section


class Engine(Section):
    """``[ENGINE]``: which processes work on the chunks of accounts of a run."""

    title = "Which processes work on the chunks of a run; `dask` needs the extra `incident-process[dask]`"

    engine: Annotated[Literal["local", "dask"], LOWER] = Field(
        default="local", description="local: this process; dask: the workers of a Dask cluster"
    )
    scheduler: Annotated[str | None, Hidden(), Expected("tcp://host:port or tls://host:port")] = Field(
        default=None,
        description="address of the Dask scheduler, with engine = dask; without it, a cluster of this machine is "
        "started for each run that has something to read",
        examples=["tls://scheduler.example.org:8786"],
    )
    workers: Whole = Field(
        default=2, ge=1, le=256, description="processes of the cluster that is started where no scheduler is named"
    )

    @field_validator("scheduler")
    @classmethod
    def _scheduler(cls, value: str | None) -> str | None:
        if value:
            try:
                parts = urlsplit(value)
                fits = parts.scheme in ("tcp", "tls") and bool(parts.hostname) and bool(parts.port)
            except ValueError:
                fits = False
            if not fits or "@" in value or parts.path.strip("/") or parts.query or parts.fragment:
                raise ValueError(
                    "is no address of a Dask scheduler: write tcp://host:8786 or tls://host:8786, and nothing after it"
                )
        return value

    @property
    def is_remote(self) -> bool:
        """True when a cluster that was there before the run processes the chunks."""
        return self.engine == "dask" and self.scheduler is not None
