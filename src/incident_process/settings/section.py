"""What all sections of the configuration share."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """One section. ``title`` heads it in the template, ``upper`` says how its keys are shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    title: ClassVar[str]
    upper: ClassVar[bool] = False
