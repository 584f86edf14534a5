"""The configuration as a whole: read once, complete, checked, frozen."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from incident_process.settings import checks, ini, load
from incident_process.settings.database_urls import MongoTarget, MySQLTarget, Target, parse_replicas, parse_target
from incident_process.settings.key_docs import is_secret
from incident_process.settings.keys import SECTIONS
from incident_process.settings.keys.api import Api
from incident_process.settings.keys.dashboard_keys import Dashboard
from incident_process.settings.keys.databases import Database, Mongodb, State
from incident_process.settings.keys.engine import Engine
from incident_process.settings.keys.operating import Log, Metrics, Notify, Schedule, Tracing
from incident_process.settings.keys.process import Process
from incident_process.settings.keys.section import Section
from incident_process.settings.messages import Problem, explain, missing, rejection
from incident_process.settings.normalize import RawSettings, normalize

Part = TypeVar("Part", bound=Section)


class Settings(BaseModel):
    """All settings of one process (SPEC 8). ``Settings.load()`` reads them; every repr masks secrets.

    ``Settings(api={"api_url": …}, database={"url": …}, …)`` builds them in code, with the same checks and without
    files or environment; without any argument it reads what ``load()`` reads.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    mongodb: Mongodb = Field(default_factory=Mongodb)
    database: Database = Field(default_factory=Database)
    api: Api
    process: Process = Field(default_factory=Process)
    state: State = Field(default_factory=State)
    engine: Engine = Field(default_factory=Engine)
    dashboard: Dashboard = Field(default_factory=Dashboard)
    schedule: Schedule = Field(default_factory=Schedule)
    log: Log = Field(default_factory=Log)
    metrics: Metrics = Field(default_factory=Metrics)
    notify: Notify = Field(default_factory=Notify)
    tracing: Tracing = Field(default_factory=Tracing)
    config_path: Path | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def load(cls, config: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None) -> Self:
        """Read the configuration.

        Args:
            config: The INI file; None looks at INCIDENT_PROCESS_CONFIG, then at config/databaseConfig.ini and
                DB_Config.ini in the current folder. Without any file the embedded default applies.
            environ: The environment; None: this process's.

        Raises:
            ConfigurationError: Something is wrong or missing; the message has a sentence for each problem.
            APIConfigError: The receiver's address is among the problems.
        """
        return cls.model_validate(_read(config, environ))

    @classmethod
    def load_section(
        cls, section: type[Part], config: str | os.PathLike[str] | None = None, environ: Mapping[str, str] | None = None
    ) -> Part:
        """Read one section alone, whatever is wrong or missing in the others; arguments as in ``load``.

        Raises:
            ConfigurationError: Something is wrong or missing in the section, or the file cannot be read.
            APIConfigError: The receiver's address is among the problems.
        """
        name = next(name for name, model in SECTIONS.items() if model is section)
        raw = normalize(_read(config, environ))
        problems = [*raw.problems_of(name), *checks.missing_keys_of(raw, name)]
        try:
            found = section.model_validate(raw.values[name])
        except ValidationError as exc:
            problems += _unstated(exc, raw, problems, name)
        if problems:
            raise rejection(problems)
        return found

    @classmethod
    def find(cls, config: Path | None = None, environ: Mapping[str, str] | None = None) -> Path | None:
        """Return the file that ``load`` would read with these arguments; None for the embedded default.

        A named file is returned even where it does not exist yet, so that ``init`` can write it.
        """
        named = load.named_path(config, os.environ if environ is None else environ)
        return named or next((place for place in load.USUAL_PLACES if place.exists()), None)

    @model_validator(mode="wrap")
    @classmethod
    def _all_problems_at_once(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(data, cls):
            return data
        raw = normalize(data or _read(None, None))
        problems = [*raw.problems, *checks.missing_keys(raw)]
        warnings = [*raw.warnings, *checks.warnings(raw), *raw.values.get("warnings", ())]
        try:
            settings = handler(raw.values | {"warnings": (*warnings, *raw.suspected())})
        except ValidationError as exc:
            problems += _unstated(exc, raw, problems)
        if problems:
            raise rejection(problems)
        return settings

    @property
    def not_found(self) -> str | None:
        """The warning that no configuration was found and the embedded default applies, None where one was."""
        return next((one for one in self.warnings if one.startswith(load.NOT_FOUND)), None)

    @property
    def file_holds_secrets(self) -> bool:
        """Whether the configuration file itself holds a credential; ConfigurationError where it cannot be read."""
        if self.config_path is None:
            return False
        written = load.file(self.config_path, ini.read(self.config_path))
        return any(
            is_secret(section, name) and value and not value.startswith("sqlite:")
            for section, keys in written.items()
            for name, value in keys.items()
        )

    @property
    def source_target(self) -> Target:
        """The source database."""
        return self.database.target

    @property
    def replica_targets(self) -> tuple[MySQLTarget, ...]:
        """The read replicas of the source database, in the order of the setting."""
        main = self.source_target
        if not self.database.replicas or not isinstance(main, MySQLTarget):
            return ()
        return parse_replicas(self.database.replicas.get_secret_value(), main)

    @property
    def state_target(self) -> Target:
        """The database of the SQL state: ``[STATE] url``, else the source's."""
        if self.state.url:
            return parse_target(self.state.url.get_secret_value(), self.database.tls)
        return self.source_target

    @property
    def mongo_target(self) -> MongoTarget:
        """The MongoDB database of the state.

        Raises:
            ConfigurationError: ``[MONGODB]`` names none, which is possible only with tracking = sql.
        """
        absent = [name for name, value in self.mongodb if not value]
        if absent:
            origin = str(self.config_path or "configuration")
            raise rejection(missing("mongodb", name, origin) for name in absent)
        return self.mongodb.target


def _read(config: str | os.PathLike[str] | None, environ: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the values as they are written, the environment's over those of the file or of the embedded default."""
    environ = os.environ if environ is None else environ
    named = Path(config) if config else None
    raw, found = load.layers(named, environ)
    values: dict[str, Any] = dict(raw)
    if found:
        values["config_path"] = found
        warning = None if load.named_path(named, environ) else load.planted_file_warning(found)
    else:
        warning = load.embedded_warning(raw)
    values["warnings"] = () if warning is None else (warning,)
    return values


def _unstated(
    error: ValidationError, raw: RawSettings, problems: list[Problem], section: str | None = None
) -> list[Problem]:
    """Return pydantic's findings, without the keys of ``problems``.

    The completeness check has a better sentence for a needed key that is missing.
    """
    stated = {(item.section, item.name) for item in problems}
    found = explain(error, raw.origins, raw.default_origin, section)
    return [raw.with_suspicion(item) for item in found if (item.section, item.name) not in stated]
