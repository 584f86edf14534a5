"""Settings: where values come from, what they mean, and that every mistake is answered by place, fault and remedy."""

import pickle
import re
import ssl
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from incident_process.core.errors import APIConfigError, ConfigurationError
from incident_process.core.models import Tracking
from incident_process.settings import Api, Database, Mongodb, Settings
from incident_process.settings.database_urls import MySQLTarget, SqliteTarget, parse_target
from incident_process.settings.in_force import keys_in_force
from incident_process.settings.key_docs import keys
from incident_process.settings.keys import SECTIONS
from incident_process.settings.keys.section import Section
from incident_process.settings.template import render

FIELD_FILE = """\
[MONGODB]
MONGO_URL = mongodb://localhost:27017/
DATABASE_NAME = drc_incident

[DATABASE]
; or URL = sqlite:///incidents.db
MYSQL_HOST = localhost
MYSQL_PORT = 3306
MYSQL_DATABASE = incident_db
MYSQL_USER = reader
MYSQL_PASSWORD = p%word;with#signs = "x" ${HOME}

[API]
api_url = http://localhost:8000/Request_Incident_External_information
"""
SMALL = "[DATABASE]\nurl = sqlite:///a.db\n[PROCESS]\ntracking = sql\n[API]\napi_url = http://host/x\n"
SECRET = "hunter2"

Load = Callable[..., Settings]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return a function that loads a configuration text in an empty folder with nothing but the given environment."""
    monkeypatch.chdir(tmp_path)

    def load_text(text: str | bytes, **environ: str) -> Settings:
        path = tmp_path / "site.ini"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return Settings.load(path, environ)

    return load_text


def fault(load: Load, text: str | bytes, **environ: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load(text, **environ)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "a chained exception would show the text of the file"
    return str(caught.value)


def with_key(section: str, line: str) -> str:
    return (
        SMALL.replace(f"[{section}]\n", f"[{section}]\n{line}\n")
        if f"[{section}]" in SMALL
        else (f"{SMALL}[{section}]\n{line}\n")
    )


class TestReading:
    def test_the_file_of_the_field(self, load: Load, tmp_path: Path) -> None:
        settings = load(FIELD_FILE)
        assert settings.config_path == tmp_path / "site.ini"
        assert settings.warnings == ()
        assert settings.process.tracking is Tracking.MONGO
        assert settings.mongo_target.url.get_secret_value() == "mongodb://localhost:27017/"
        assert settings.mongo_target.database == "drc_incident"
        target = settings.source_target
        assert isinstance(target, MySQLTarget)
        assert (target.host, target.port, target.database, target.user) == ("localhost", 3306, "incident_db", "reader")
        assert target.password.get_secret_value() == 'p%word;with#signs = "x" ${HOME}'
        assert target.ssl_context() is None

    def test_the_defaults(self, load: Load) -> None:
        settings = load(SMALL)
        api, process = settings.api, settings.process
        assert (api.max_connections, api.requests_per_second, api.timeout_seconds, api.max_attempts) == (64, 0, 30, 5)
        assert (api.retry_seconds, api.retry_after_cap_seconds, api.breaker_failures) == (120, 60, 5)
        assert (api.bearer_token, dict(api.headers), api.ca_file, api.send_empty) == (None, {}, None, True)
        assert process.operation_name == "Incident extraction from data lake"
        assert (process.time_gap_seconds, process.lookback_seconds, process.chunk_accounts) == (60, 86400, 1000)
        assert (process.max_runs, process.lease_seconds, process.created_by) == (3, 60, "drs_admin")
        assert (process.keep_bodies, process.execution_duration) == (0, 60)
        assert (process.log_format, process.log_level, process.zone) == ("text", "INFO", ZoneInfo("UTC"))

    def test_names_in_any_case_crlf_and_byte_order_mark(self, load: Load) -> None:
        settings = load(b"\xef\xbb\xbf" + SMALL.upper().replace("\n", "\r\n").encode())
        assert settings.process.tracking is Tracking.SQL

    def test_what_follows_a_header_is_no_part_of_its_name(self, load: Load) -> None:
        settings = load(SMALL.replace("[PROCESS]", "[ PROCESS ] ; see [OLD]\nmax_runs = 9"))
        assert (settings.process.tracking, settings.process.max_runs) == (Tracking.SQL, 9)

    def test_the_environment_wins_whatever_its_case(self, load: Load) -> None:
        settings = load(SMALL, INCIDENT_PROCESS__API__API_URL="https://other/", incident_process__process__max_runs="9")
        assert settings.api.api_url == "https://other/"
        assert settings.process.max_runs == 9

    def test_an_empty_variable_takes_a_key_back(self, load: Load) -> None:
        assert load(with_key("API", "max_attempts = 2"), INCIDENT_PROCESS__API__MAX_ATTEMPTS="").api.max_attempts == 5

    @pytest.mark.parametrize("between", ["", "   ", "; a comment", "  # a comment", "\n; two\n\n  ; lines"])
    def test_a_value_of_several_lines_goes_on_over_empty_lines_and_comments(self, load: Load, between: str) -> None:
        # The second header is named like a key of the section, and must not become one.
        lines = ("headers = X-Client: a", "  timeout_seconds: 5", "  X-Last: z", "max_attempts = 7")
        api = load(with_key("API", f"\n{between}\n".join(lines))).api
        headers = {name: value.get_secret_value() for name, value in api.headers.items()}
        assert headers == {"X-Client": "a", "timeout_seconds": "5", "X-Last": "z"}
        assert (api.timeout_seconds, api.max_attempts) == (30, 7)

    def test_alert_addresses_go_on_over_empty_lines_and_comments(self, load: Load) -> None:
        text = f"{FIELD_FILE}\n[NOTIFY]\nurls = json://one.example/\n\n  ; the night shift\n  json://two.example/\n"
        urls = load(text).notify.urls
        assert [url.get_secret_value() for url in urls] == ["json://one.example/", "json://two.example/"]

    def test_an_indented_key_after_an_empty_line_is_told(self, load: Load) -> None:
        text = FIELD_FILE.replace("MYSQL_PORT = 3306", f"MYSQL_PORT = 3306\n\n  MYSQL_PASSWORD = {SECRET}")
        message = fault(load, text)
        assert "[DATABASE] MYSQL_PORT holds a line break" in message
        assert SECRET not in message

    def test_headers_on_several_lines(self, load: Load) -> None:
        headers = load(with_key("API", f"headers = X-Client: a:b\n  Authorization: Basic {SECRET}")).api.headers
        assert {name: value.get_secret_value() for name, value in headers.items()} == {
            "X-Client": "a:b",
            "Authorization": f"Basic {SECRET}",
        }

    def test_words_and_numbers(self, load: Load) -> None:
        text = with_key("API", "send_empty = OFF\nrequests_per_second = 2.5\nbearer_token =")
        settings = load(
            text, INCIDENT_PROCESS__PROCESS__KEEP_BODIES="off", INCIDENT_PROCESS__PROCESS__LOG_LEVEL="debug"
        )
        assert (settings.api.send_empty, settings.api.requests_per_second, settings.api.bearer_token) == (
            False,
            2.5,
            None,
        )
        assert (settings.process.keep_bodies, settings.process.log_level) == (0, "DEBUG")

    def test_an_empty_password_is_one(self, load: Load) -> None:
        target = load(re.sub("MYSQL_PASSWORD.*", "MYSQL_PASSWORD =", FIELD_FILE)).source_target
        assert isinstance(target, MySQLTarget)
        assert target.password.get_secret_value() == ""

    def test_built_in_code_it_takes_the_same_rules_and_no_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INCIDENT_PROCESS__API__API_URL", "http://elsewhere/")
        values = {"database": {"url": "sqlite:////srv/a.db"}, "process": {"tracking": "sql"}}
        settings = Settings.model_validate(values | {"api": {"api_url": "http://here/"}})
        assert settings.api.api_url == "http://here/"
        assert Settings.model_validate(values | {"api": settings.api}) == settings
        headers = {"api_url": "http://here/", "headers": {"X-A": SECRET}}
        again = Settings.model_validate(Settings.model_validate(values | {"api": headers}).model_dump())
        assert again.api.headers["X-A"].get_secret_value() == SECRET
        with pytest.raises(APIConfigError, match="api_url is missing"):
            Settings.model_validate(values)
        cased = {"DATABASE": {"URL": "sqlite:////srv/a.db"}, "Process": {"tracking": "sql"}, "api": settings.api}
        assert Settings.model_validate(cased) == settings

    def test_with_nothing_given_it_reads_what_load_reads(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "named.ini").write_text(SMALL)
        monkeypatch.setenv("INCIDENT_PROCESS_CONFIG", str(tmp_path / "named.ini"))
        assert Settings.model_validate({}) == Settings.load() == Settings.load(str(tmp_path / "named.ini"))

    def test_settings_are_frozen_and_survive_pickling(self, load: Load) -> None:
        settings = load(FIELD_FILE)
        with pytest.raises(ValidationError):
            settings.process.max_runs = 4
        assert pickle.loads(pickle.dumps(settings)) == settings


class TestFinding:
    def test_the_order_of_places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "DB_Config.ini").write_text(SMALL)
        assert Settings.load(environ={}).config_path == Path("DB_Config.ini")
        (tmp_path / "config").mkdir()
        (tmp_path / "config/databaseConfig.ini").write_text(SMALL)
        assert Settings.load(environ={}).config_path == Path("config/databaseConfig.ini")
        (tmp_path / "named.ini").write_text(SMALL)
        assert Settings.load(environ={"INCIDENT_PROCESS_CONFIG": "named.ini"}).config_path == Path("named.ini")
        (tmp_path / "given.ini").write_text(SMALL)
        environ = {"INCIDENT_PROCESS_CONFIG": "named.ini"}
        assert Settings.load(Path("given.ini"), environ).config_path == Path("given.ini")

    def test_find_names_the_file_that_load_would_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert Settings.find(environ={}) is None
        assert Settings.find(environ={"INCIDENT_PROCESS_CONFIG": "new.ini"}) == Path("new.ini")
        (tmp_path / "DB_Config.ini").write_text(SMALL)
        assert Settings.find(environ={}) == Path("DB_Config.ini")

    def test_without_a_file_everything_is_embedded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "100% data?"))
        settings = Settings.load(environ={})
        assert settings.config_path is None
        assert settings.process.tracking is Tracking.SQL
        assert settings.api.api_url == "http://127.0.0.1:8000/Request_Incident_External_information"
        assert settings.source_target == SqliteTarget(
            path=tmp_path / "100% data?" / "incident-process" / "incidents.db"
        )
        assert settings.state_target == settings.source_target

    def test_without_a_file_the_environment_may_name_the_database(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        names = {"HOST": "db", "DATABASE": "d", "USER": "u", "PASSWORD": SECRET}
        environ = {f"INCIDENT_PROCESS__DATABASE__MYSQL_{name}": value for name, value in names.items()}
        assert isinstance(Settings.load(environ=environ).source_target, MySQLTarget)

    @pytest.mark.parametrize("environ", [{}, {"INCIDENT_PROCESS_CONFIG": "gone.ini"}])
    def test_a_named_file_must_be_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environ: Mapping[str, str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigurationError, match=r"gone\.ini: there is no such file") as refused:
            Settings.load(None if environ else Path("gone.ini"), environ)
        assert f"'incident-process init{'' if environ else ' --config gone.ini'}'" in str(refused.value)

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
            Settings.load(tmp_path, {})


class TestMistakes:
    def test_all_are_reported_at_once_a_line_each(self, load: Load, tmp_path: Path) -> None:
        text = (
            "[DATABASE]\nMYSQL_PORT = 1_0\nMYSQL_HSOT = h\nMYSQL_USER =\n[PROCESS]\ntracking = sqll\n[STAET]\nurl = x\n"
        )
        lines = fault(load, text, INCIDENT_PROCESS__API__MAX_CONNECTIONS="5000").splitlines()
        file = tmp_path / "site.ini"
        assert (
            lines[0]
            == f"{file}: [DATABASE] MYSQL_PORT has a wrong value '1_0': it must be a whole number from 1 to 65535."
        )
        assert [line.split(": ", 1)[1].split(":")[0] for line in lines[1:]] == [
            "[DATABASE] MYSQL_DATABASE is missing",
            "[DATABASE] MYSQL_USER is missing",
            "[DATABASE] MYSQL_PASSWORD is missing",
            "[DATABASE] MYSQL_HSOT is unknown",
            "[API] api_url is missing",
            "[API] max_connections has a wrong value '5000'",
            "[PROCESS] tracking has a wrong value 'sqll'",
            "[STAET] is an unknown section",
        ]
        assert "did you mean MYSQL_HOST?" in lines[4]
        assert lines[6].startswith("environment variable INCIDENT_PROCESS__API__MAX_CONNECTIONS: ")

    @pytest.mark.parametrize(
        ("section", "line", "said"),
        [
            ("API", "max_connections = 0", "'0': it must be a whole number from 1 to 1000"),
            ("API", "timeout_seconds = nan", "'nan': it must be a number above 0, up to 3600"),
            ("API", "requests_per_second = 1_0", "it must be a number from 0"),
            ("API", "send_empty = maybe", "'maybe': it must be on or off"),
            ("API", "ca_file = /nowhere/ca.pem", "ca_file names a file that cannot be read (No such file"),
            ("API", "headers = nonsense", "is no header in its line 1"),
            ("API", "headers = Content-Type: text/xml", "sets Content-Type, which the program sets itself"),
            ("API", "headers = idempotency-key: 1", "sets idempotency-key, which the program sets itself"),
            ("API", "headers = X-A: 1\n  x-a: 2", "gives the header x-a twice"),
            ("API", "headers = X-A: \x00", "control or non-ASCII character in its line 1"),
            ("PROCESS", "source_timezone = asia/colombo2", "names no time zone: did you mean Asia/Colombo?"),
            ("PROCESS", "source_timezone = ../x", "names no time zone: write a name such as"),
            ("PROCESS", "keep_bodies = -1", "it must be off or a whole number of days from 0 to 3650"),
            ("PROCESS", "lease_seconds = 0.5", "it must be a number from 1 to 86400"),
            ("PROCESS", f"operation_name = {'x' * 256}", "…': it must be a text of 1 to 255 characters"),
            ("PROCESS", "log_level = loud", "it must be DEBUG, INFO, WARNING, ERROR or CRITICAL"),
            ("PROCESS", "time_gap_secnds = 1", "time_gap_secnds is unknown: did you mean time_gap_seconds?"),
            (
                "STATE",
                "url = postgres://h/d",
                "names PostgreSQL, which is not supported: write sqlite:///file.db or mysql",
            ),
            ("DATABASE", "MYSQL_SSL_KEY = /dev/null", "MYSQL_SSL_CERT is missing"),
            ("MONGODB", "MONGO_URL = http://h/", "is no MongoDB address: write mongodb://"),
            ("MONGODB", "DATABASE_NAME = a.b", "has a character that MongoDB forbids"),
        ],
    )
    def test_each_is_answered_with_the_remedy(self, load: Load, section: str, line: str, said: str) -> None:
        message = fault(load, with_key(section, line))
        assert f"[{section}] " in message
        assert said in message

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            ("", "is missing: set it"),
            ("ftp://host/", "is no http:// or https:// address"),
            ("http:///path", "is no http:// or https:// address"),
            ("http://host:99999/", "is no URL"),
            ("http://ho st/", "is no http:// or https:// address"),
            (f"http://me:{SECRET}@host/", "holds a user name or password: set bearer_token"),
            ("http://host/#part", "has a part after `#`"),
        ],
    )
    def test_the_address_of_the_receiver(self, load: Load, url: str, said: str) -> None:
        with pytest.raises(APIConfigError) as caught:
            load(SMALL.replace("http://host/x", url))
        assert f"[API] api_url {said}" in str(caught.value)
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "said"),
        [
            *(
                (
                    f"mongodb://u:{SECRET}@{hosts}/",
                    "has a port that is no number from 1 to 65535: write mongodb://host:",
                )
                for hosts in ("h:99999", "h:0", "h:", "h:abc", "h:27017,i:x", "[::1]:x", "fe80::1", f"h:{'9' * 5000}")
            ),
            (f"mongodb://u:{SECRET}/w@h:27017/", "special characters of the password percent-encoded"),
            *(
                (f"mongodb://u:{SECRET}@{hosts}", "has a host that is missing or no name or address")
                for hosts in ("", "/d", "h,", "?tls=true", "::1", "[::1", "[::1]x:27017")
            ),
            *((f"mongodb+srv://{hosts}/", "write mongodb+srv://host/") for hosts in ("h:27017", "h,i")),
        ],
    )
    def test_the_address_of_mongo(self, load: Load, url: str, said: str) -> None:
        message = fault(load, with_key("MONGODB", f"MONGO_URL = {url}"))
        assert "[MONGODB] MONGO_URL " in message
        assert said in message
        assert SECRET not in message

    @pytest.mark.parametrize(
        "url",
        [
            "mongodb://h",
            "mongodb://u:p%40@a:1,b:65535,c/db?replicaSet=r:s",
            "mongodb://[::1],[fe80::1%25eth0]:27018/",
            "mongodb://%2Ftmp%2Fmongodb-27017.sock/db?tls=false",
            "mongodb://h?tls=true",
            "mongodb+srv://u:p@cluster.example.org/?retryWrites=true",
        ],
    )
    def test_an_address_of_mongo_that_is_right(self, load: Load, url: str) -> None:
        mongo_url = load(with_key("MONGODB", f"MONGO_URL = {url}")).mongodb.mongo_url
        assert mongo_url is not None
        assert mongo_url.get_secret_value() == url

    def test_mongo_tracking_needs_mongo(self, load: Load) -> None:
        message = fault(load, SMALL.replace("tracking = sql\n", ""))
        assert "[MONGODB] MONGO_URL is missing" in message
        assert "[MONGODB] DATABASE_NAME is missing" in message
        assert "or set [PROCESS] tracking = sql" in message

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (f"[API]\nx = {SECRET}\n[api]\n", "line 3: the section [API] is there twice"),
            (f"[API]\nx = {SECRET}\n[API ]\n", "line 3: the section [API] is there twice"),
            (f"[API]\nx = 1\nX = {SECRET}\n", "line 3: [API] x is there twice"),
            (f"password = {SECRET}\n", "line 1: a value stands before any section"),
            (f"[DATABASE]\n{SECRET}\n", "line 2: this is neither"),
            (f"[DATABASE]\n= {SECRET}\n", "line 2: this is neither"),
            (f"[DATABASE]\nMYSQL_PASSWORD = {SECRET}\xff\n".encode("latin-1"), "is not UTF-8 text"),
        ],
    )
    def test_a_fault_of_the_file_names_the_line_and_shows_nothing_of_it(
        self, load: Load, text: str | bytes, said: str
    ) -> None:
        message = fault(load, text)
        assert said in message
        assert SECRET not in message

    def test_an_indented_key_does_not_show_as_the_value_above_it(self, load: Load) -> None:
        message = fault(
            load, FIELD_FILE.replace("MYSQL_PORT = 3306", f"MYSQL_PORT = 3306\n  MYSQL_PASSWORD = {SECRET}")
        )
        assert "[DATABASE] MYSQL_PORT holds a line break" in message
        assert SECRET not in message

    @pytest.mark.parametrize(
        "line",
        [
            f"url = oracle://u:{SECRET}@h/d",
            f"url = mysql://u:{SECRET}@h:port/d",
            f"url = mysql://u:{SECRET}@h",
            f"url = {SECRET}",
            f"mysql_host = mysql://u:{SECRET}@h/d",
        ],
    )
    def test_no_message_holds_a_value_that_may_be_secret(self, load: Load, line: str) -> None:
        text = with_key("DATABASE", line) if "host" in line else SMALL.replace("url = sqlite:///a.db", line)
        assert SECRET not in fault(load, text)

    def test_unknown_names_far_from_known_ones(self, load: Load, tmp_path: Path) -> None:
        text = f"{SMALL}colour = blue\n[DEFAULT]\ntracking = mongo\n[OTHER_PROGRAM]\nx = y\n"
        settings = load(text, INCIDENT_PROCESS__OTHER__X="1")
        assert settings.process.tracking is Tracking.SQL
        assert sorted(settings.warnings) == [
            f"{tmp_path / 'site.ini'}: [API] colour is unknown and has no effect.",
            "environment variable INCIDENT_PROCESS__OTHER__X: [OTHER] is an unknown section, so this has no effect.",
        ]

    def test_what_is_given_in_vain_or_at_a_risk_is_warned_of(self, load: Load) -> None:
        text = FIELD_FILE.replace("[API]\n", "[STATE]\nurl = sqlite:///s.db\n[API]\nbearer_token = t\n")
        text = text.replace("localhost:8000", "receiver:8000").replace("MYSQL_PORT", "URL = sqlite:///a.db\nMYSQL_PORT")
        warnings = "\n".join(load(text).warnings)
        for part in ("[DATABASE] URL is set", "[STATE] url has no effect", "[API] bearer_token travels unencrypted"):
            assert part in warnings

    def test_quotation_marks_and_a_comment_behind_a_value_are_pointed_out(self, load: Load) -> None:
        text = f'{SMALL}[LOG]\nfile = a.log ; a comment\n[DASHBOARD]\ntoken = "{SECRET * 3}"\n'
        quoted, commented = sorted(load(text).warnings)
        assert "[DASHBOARD] token is in quotation marks" in quoted
        assert SECRET not in quoted
        assert "[LOG] file goes on with ; or #" in commented
        wrong = fault(load, f'{SMALL}[SCHEDULE]\npoll_seconds = 5 # so many\nhttp_port = "80"\n')
        assert "'5 # so many': it must be" in wrong
        assert "give the comment a line of its own" in wrong
        assert "http_port has a wrong value '\"80\"': it must be" in wrong
        assert "remove them" in wrong

    def test_the_embedded_default_is_warned_of(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (warning,) = Settings.load(environ={}).warnings
        assert warning.startswith(
            f"No configuration found: {tmp_path} has no config/databaseConfig.ini or DB_Config.ini."
        )
        environ = {f"INCIDENT_PROCESS__{name}": "sqlite:///a.db" for name in ("DATABASE__URL", "STATE__URL")}
        assert "(receiver http://127.0.0.1" in str(Settings.load(environ=environ).not_found)
        assert Settings.load(environ=environ | {"INCIDENT_PROCESS__API__API_URL": "http://h/x"}).not_found is None

    @pytest.mark.parametrize("name", ["INCIDENT_PROCESS__API", "INCIDENT_PROCESS____X"])
    def test_a_variable_without_section_or_key(self, load: Load, name: str) -> None:
        assert f"environment variable {name}: write INCIDENT_PROCESS__SECTION__KEY" in fault(load, SMALL, **{name: "1"})

    def test_a_variable_that_is_there_twice(self, load: Load) -> None:
        environ = {"INCIDENT_PROCESS__API__MAX_RUNS": "1", "incident_process__api__max_runs": "2"}
        assert "is there twice, in different case" in fault(load, SMALL, **environ)

    def test_a_token_that_no_header_can_carry(self, load: Load) -> None:
        message = fault(load, with_key("API", f"bearer_token = {SECRET}\u00e9"))
        assert "[API] bearer_token has a character that no header can carry" in message
        assert SECRET not in message


class TestOneSection:
    @pytest.fixture
    def alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
        """Return a function that leaves nothing but this text to be found."""
        monkeypatch.chdir(tmp_path)
        return (tmp_path / "DB_Config.ini").write_text

    def test_it_needs_no_other(self, alone: Callable[[str], int]) -> None:
        alone("[API]\napi_url = http://h/x\n")
        assert Settings.load_section(Api, environ={}).api_url == "http://h/x"
        alone("[DATABASE]\nurl = sqlite:////srv/a.db\n[PROCESS]\ntracking = sqll\n[STAET]\nx = y\n")
        assert Settings.load_section(Database, environ={}).target == SqliteTarget(path=Path("/srv/a.db"))
        alone(f"[MONGODB]\nMONGO_URL = mongodb://u:{SECRET}@h/\n[API]\nmax_attempts = x\n")
        target = Settings.load_section(Mongodb, environ={"INCIDENT_PROCESS__MONGODB__DATABASE_NAME": "d"}).target
        assert (target.url.get_secret_value(), target.database) == (f"mongodb://u:{SECRET}@h/", "d")

    @pytest.mark.parametrize(
        ("section", "text", "said"),
        [
            (Api, "[PROCESS]\ntracking = sqll\n", ["[API] api_url is missing"]),
            (Api, "[API]\napi_url = h\nmax_attempts = 0\n", ["[API] api_url is no http://", "[API] max_attempts has"]),
            (
                Api,
                "[API]\napi_url = http://h/\nmax_atempts = 1\n",
                ["max_atempts is unknown: did you mean max_attempts?"],
            ),
            (
                Database,
                "[DATABASE]\nMYSQL_HOST = h\nMYSQL_PORT = x\n",
                [f"[DATABASE] MYSQL_{name}" for name in ("PORT has", "DATABASE is", "USER is", "PASSWORD is")],
            ),
            (Mongodb, "[PROCESS]\ntracking = sql\n", ["[MONGODB] MONGO_URL is", "[MONGODB] DATABASE_NAME is"]),
            (Mongodb, "[MONGO_DB]\nMONGO_URL = mongodb://h/\nDATABASE_NAME = d\n", ["did you mean [MONGODB]?"]),
        ],
    )
    def test_what_is_wrong_in_it_is_said_and_nothing_else(
        self, alone: Callable[[str], int], section: type[Section], text: str, said: list[str]
    ) -> None:
        alone(text)
        with pytest.raises(ConfigurationError) as caught:
            Settings.load_section(section, environ={})
        lines = str(caught.value).splitlines()
        assert len(lines) == len(said)
        assert all(part in line for part, line in zip(said, lines, strict=True))
        assert isinstance(caught.value, APIConfigError) == ("[API] api_url" in str(caught.value))


class TestSecrets:
    def test_they_show_nowhere(self, load: Load) -> None:
        text = (
            f"[MONGODB]\nMONGO_URL = mongodb://u:{SECRET}@h/\nDATABASE_NAME = d\n"
            f"[DATABASE]\nURL = mysql://u:{SECRET}@h/d\nMYSQL_PASSWORD = {SECRET}\n"
            f"[API]\napi_url = https://h/\nbearer_token = {SECRET}\nheaders = X-Key: {SECRET}\n"
            f"[STATE]\nurl = mysql://u:{SECRET}@h/e\n"
        )
        settings = load(text)
        shown = (settings, settings.source_target, settings.state_target, settings.mongo_target, settings.model_dump())
        assert all(SECRET not in repr(item) and SECRET not in str(item) for item in shown)
        assert SECRET not in settings.model_dump_json()
        assert isinstance(settings.source_target, MySQLTarget)
        assert settings.source_target.password.get_secret_value() == SECRET

    def test_they_are_masked_in_what_is_in_force_wherever_an_address_has_them(self, tmp_path: Path) -> None:
        """An @ behind the hosts of a MongoDB address belongs to an option, and ends no credentials."""
        config = tmp_path / "a.ini"
        config.write_text(
            f"[MONGODB]\nMONGO_URL = mongodb://h/d?tls=true&tlsCertificateKeyFilePassword={SECRET}@a:{SECRET}\n"
            "DATABASE_NAME = d\n[DATABASE]\nURL = sqlite:///a.db\n[API]\napi_url = https://h/\n"
            f"[TRACING]\nendpoint = https://h/v1?key={SECRET}\n"
        )
        found = {one.key: one.value for one in keys_in_force(Settings.load(config, {}), config, {})}
        assert found["MONGO_URL"] == "mongodb://h/d?********"
        assert found["endpoint"] == "https://h/v1?********"
        config.write_text(config.read_text().replace("mongodb://h", f"mongodb://u:{SECRET}@h,i:1"))
        found = {one.key: one.value for one in keys_in_force(Settings.load(config, {}), config, {})}
        assert found["MONGO_URL"] == "mongodb://u:********@h,i:1/d?********"

    def test_a_failed_load_keeps_them_out_of_its_locals(self, load: Load) -> None:
        with pytest.raises(ConfigurationError) as caught:
            load(with_key("API", f"max_runs = x\nmax_attempts = x\nbearer_token = {SECRET}"))
        frames, frame = [], caught.value.__traceback__
        while frame:
            frames.append(frame.tb_frame)
            frame = frame.tb_next
        own = [item for item in frames if item.f_globals["__name__"] == "incident_process.settings.model"]
        raw_values = [item.f_locals["raw"] for item in own if "raw" in item.f_locals]
        assert raw_values
        assert SECRET not in repr(raw_values)


class TestTargets:
    def test_sqlite_paths(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert parse_target("sqlite:///a%20b.db") == SqliteTarget(path=tmp_path / "a b.db")
        assert parse_target("SQLite:////srv/a.db") == SqliteTarget(path=Path("/srv/a.db"))

    @pytest.mark.parametrize(
        "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://a.db", "sqlite:///a.db?mode=ro", "a.db"]
    )
    def test_what_names_no_sqlite_file(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"sqlite:///|options after"):
            parse_target(url)

    def test_mysql_with_everything_unusual(self) -> None:
        target = parse_target("mariadb://us%40er:p%2F:#w@d@[::1]:3307/data%20base")
        assert isinstance(target, MySQLTarget)
        assert (target.host, target.port, target.database, target.user) == ("::1", 3307, "data base", "us@er")
        assert target.password.get_secret_value() == "p/:#w@d"

    @pytest.mark.parametrize(
        "url", ["mysql://h/d", "mysql://u:p@/d", "mysql://u:p@h", "mysql://u:p@h:0/d", "mysql://u@h/d?charset=x"]
    )
    def test_what_names_no_mysql_database(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"lacks the|port|options"):
            parse_target(url)

    @given(st.text())
    def test_any_text_is_read_or_refused_in_words(self, text: str) -> None:
        for scheme in ("sqlite", "mysql"):
            try:
                target = parse_target(f"{scheme}://{text}")
            except ValueError as exc:
                target = None
                said = str(exc)
            assert target or re.match("(lacks|has|names) ", said)

    def test_state_is_beside_the_source_unless_told_otherwise(self, load: Load, tmp_path: Path) -> None:
        assert load(SMALL).state_target == SqliteTarget(path=tmp_path / "a.db")
        elsewhere = load(with_key("STATE", "url = mysql://u:p@h/d"), INCIDENT_PROCESS__DATABASE__MYSQL_SSL="on")
        assert isinstance(elsewhere.state_target, MySQLTarget)
        assert elsewhere.state_target.tls is not None

    def test_tls_verifies_unless_told_not_to(self, load: Load) -> None:
        target = load(FIELD_FILE, INCIDENT_PROCESS__DATABASE__MYSQL_SSL="on").source_target
        assert isinstance(target, MySQLTarget)
        context = target.ssl_context()
        assert context is not None
        assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
        environ = {"INCIDENT_PROCESS__DATABASE__MYSQL_SSL": "on", "INCIDENT_PROCESS__DATABASE__MYSQL_SSL_VERIFY": "off"}
        target = load(FIELD_FILE, **environ).source_target
        assert isinstance(target, MySQLTarget)
        context = target.ssl_context()
        assert context is not None
        assert context.verify_mode == ssl.CERT_NONE

    @pytest.mark.parametrize(("word", "meant"), [("yes", "on"), ("1", "on"), ("No", "off"), ("FALSE", "off")])
    def test_what_tls_checks_may_be_said_as_yes_and_no(self, load: Load, word: str, meant: str) -> None:
        environ = {
            "INCIDENT_PROCESS__DATABASE__MYSQL_SSL": "on",
            "INCIDENT_PROCESS__DATABASE__MYSQL_SSL_VERIFY": word,
        }
        target = load(FIELD_FILE, **environ).source_target
        assert isinstance(target, MySQLTarget)
        assert target.tls is not None
        assert target.tls.verify == meant

    def test_what_tls_checks_must_fit_the_authority_that_is_given(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("an authority")
        keys = "MYSQL_SSL = on\nMYSQL_SSL_VERIFY = "
        assert "[DATABASE] MYSQL_SSL_CA is missing" in fault(load, with_key("DATABASE", f"{keys}ca"))
        for word in ("off", "no"):
            message = fault(load, with_key("DATABASE", f"{keys}{word}\nMYSQL_SSL_CA = {tmp_path / 'ca.pem'}"))
            assert "[DATABASE] MYSQL_SSL_VERIFY is off, so the authority in MYSQL_SSL_CA is not asked" in message
        assert "it must be on, ca or off" in fault(load, with_key("DATABASE", f"{keys}full"))

    def test_a_file_that_is_no_certificate(self, load: Load, tmp_path: Path) -> None:
        (tmp_path / "ca.pem").write_text("nothing")
        environ = {"INCIDENT_PROCESS__DATABASE__MYSQL_SSL": "on", "INCIDENT_PROCESS__DATABASE__MYSQL_SSL_CA": "ca.pem"}
        target = load(FIELD_FILE, **environ).source_target
        assert isinstance(target, MySQLTarget)
        with pytest.raises(ConfigurationError, match="MYSQL_SSL_CA holds no certificate"):
            target.ssl_context()

        environ["INCIDENT_PROCESS__DATABASE__MYSQL_SSL_CA"] = ""
        target = load(FIELD_FILE, **environ, INCIDENT_PROCESS__DATABASE__MYSQL_SSL_CERT="ca.pem").source_target
        assert isinstance(target, MySQLTarget)
        with pytest.raises(ConfigurationError, match="are no pair of certificate and key"):
            target.ssl_context()

    def test_mongo_where_none_is_named(self, load: Load) -> None:
        with pytest.raises(ConfigurationError, match="MONGO_URL is missing"):
            _ = load(SMALL).mongo_target


class TestDescriptions:
    def test_every_key_is_described(self) -> None:
        assert [name for name in Settings.model_fields if name in SECTIONS] == list(SECTIONS)
        for what in keys():
            assert what.description, what
            assert what.default is not None or what.example is not None, what

    def test_the_template_loads(self, load: Load) -> None:
        settings = load(render())
        assert settings.warnings == ()
        assert settings.process == load(FIELD_FILE).process

    def test_every_commented_key_of_the_template_is_right_too(self, load: Load) -> None:
        active = re.sub(r"(?m)^;(?=\w+ = )", "", render())
        without_files = re.sub(r"(?m)^(MYSQL_SSL_\w+|ca_file) = /.*$", "", active)
        settings = load(without_files)
        assert settings.process == load(FIELD_FILE).process
        assert dict(settings.api.headers)

    def test_the_template_with_values(self, load: Load) -> None:
        values = {
            "database": {"URL": "sqlite:///x.db"},
            "API": {"api_url": "http://h/", "headers": "X-A: 1\nX-B: 2"},
            "PROCESS": {"tracking": "sql"},
        }
        settings = load(render(values))
        assert list(settings.api.headers) == ["X-A", "X-B"]
        assert settings.warnings == ()
        with pytest.raises(KeyError):
            render({"API": {"nothing": "1"}})


def test_importing_settings_loads_no_driver_and_reads_no_environment() -> None:
    code = (
        "import os, sys; os.environ.clear(); import incident_process.settings\n"
        "print([n for n in ('pymongo', 'httptools', 'asyncmy', 'platformdirs') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_repr_shows_of_an_address_where_it_leads_and_no_more() -> None:
    settings = Settings.model_validate(
        {
            "api": {"api_url": "https://receiver.example.org/in?key=made-up-secret"},
            "database": {"url": "sqlite:///a.db"},
            "process": {"tracking": "sql"},
            "tracing": {"endpoint": "https://traces.example.org/v1?token=made-up-secret"},
        }
    )
    assert "made-up-secret" not in repr(settings) + str(settings.api) + repr(settings.tracing)
    assert "https://receiver.example.org/in?***" in repr(settings)
    assert settings.api.api_url.endswith("key=made-up-secret")
