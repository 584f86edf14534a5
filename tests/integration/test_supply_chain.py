"""`make audit` and `make sbom`: the real tools, over a service of vulnerabilities that is the test's own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distributions
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from tests.support.ports import HeldPort

ROOT = Path(__file__).parents[2]
AUDIT = ROOT / "scripts" / "audit.py"
KNOWN = ("rsa", "4.0")


class Service(BaseHTTPRequestHandler):
    """Speaks OSV's language: a POST names a package and a version, the answer its vulnerabilities."""

    vulnerable: ClassVar[dict[tuple[str, str], str]] = {}
    status: ClassVar[int] = 200

    def do_POST(self) -> None:
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = query["package"]["name"], query["version"]
        found: dict[str, Any] = {}
        if identifier := self.vulnerable.get((name, version)):
            affected = {"package": {"name": name, "ecosystem": "PyPI"}}
            affected["ranges"] = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}]  # type: ignore[assignment]  # one of many shapes
            found = {"vulns": [{"id": identifier, "aliases": ["CVE-2099-1"], "affected": [affected]}]}
        body = json.dumps(found).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Service, "vulnerable", {KNOWN: "PYSEC-2020-99"})
    monkeypatch.setattr(Service, "status", 200)
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
        server.shutdown()


@pytest.fixture
def pinned(tmp_path: Path) -> Path:
    file = tmp_path / "constraints.txt"
    file.write_text("# pinned\nsample==1.0\nOther_Sample==2.10.0  # why\n")
    return file


def audit(url: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    environ = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environ |= {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": url}
    return subprocess.run(
        [sys.executable, str(AUDIT), *map(str, arguments)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_nothing_known_is_said_with_the_number_of_versions(service: str, pinned: Path) -> None:
    done = audit(service, pinned)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "No vulnerability is known of the 2 pinned versions.\n"


def test_a_known_vulnerability_is_named_with_what_fixes_it(service: str, pinned: Path, tmp_path: Path) -> None:
    Service.vulnerable[("other-sample", "2.10.0")] = "PYSEC-2099-7"
    second = tmp_path / "second.txt"
    second.write_text("sample==1.1\n")  # two versions of one package, as two environments may have
    done = audit(service, pinned, second)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        "other-sample==2.10.0: PYSEC-2099-7, CVE-2099-1; fixed in 99.1.",
        "1 of 3 pinned versions have known vulnerabilities.",
    ]


def test_what_was_looked_into_can_be_left_out(service: str, pinned: Path) -> None:
    Service.vulnerable[("other-sample", "2.10.0")] = "PYSEC-2099-7"
    done = audit(service, pinned, "--", "--ignore-vuln", "PYSEC-2099-7")
    assert (done.returncode, done.stderr) == (0, "")


def one_sentence(done: "subprocess.CompletedProcess[str]", cause: str) -> None:
    assert done.returncode == 3, "a status of its own, and never that of nothing known"
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert cause in line
    assert "Traceback" not in line


def test_a_service_that_cannot_be_reached_is_no_clean_bill(pinned: Path) -> None:
    with closing(HeldPort()) as port:
        one_sentence(audit(f"http://127.0.0.1:{port.number}/v1/query", pinned), "(Connection refused): nothing is said")
    one_sentence(audit("http://nowhere.invalid/v1/query", pinned), "nothing is said of the pinned versions")


def test_a_service_that_fails_is_no_clean_bill(service: str, pinned: Path) -> None:
    Service.status = 503
    one_sentence(audit(service, pinned), "(503 Server Error")


def test_a_service_that_knows_nothing_is_not_believed(service: str, pinned: Path) -> None:
    Service.vulnerable.clear()
    one_sentence(audit(service, pinned), "does not know that rsa==4.0 is vulnerable")


@pytest.mark.parametrize("line", ["sample", "sample>=1.0", "sample==1.*", "sample==1.0,<2", "-r other.txt", "==1.0"])
def test_a_line_that_pins_nothing_is_told(pinned: Path, line: str) -> None:
    pinned.write_text(f"sample==1.0\n{line}\n")
    done = audit("http://127.0.0.1:9/", pinned)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{pinned}, line 2: it should be NAME==VERSION.\n"


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file = tmp_path_factory.mktemp("sbom") / "new" / "sbom.cdx.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "sbom.py"), str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    text = file.read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    result: dict[str, Any] = json.loads(text)
    return result


def test_the_bill_has_every_pinned_version_with_its_purl(bill: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    pinned = {tuple(line.split("==")) for line in lines}
    names = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in pinned}
    assert {one["name"]: one["version"] for one in bill["components"]} == names
    assert all(one["purl"] == f"pkg:pypi/{one['name']}@{one['version']}" for one in bill["components"])


def test_the_bill_says_what_the_program_needs_itself(bill: dict[str, Any]) -> None:
    scope = {one["name"]: one["scope"] for one in bill["components"]}
    assert {scope[name] for name in ("pymongo", "dnspython", "pydantic-core", "typing-extensions")} == {"required"}
    assert {scope[name] for name in ("distributed", "cloudpickle", "opentelemetry-sdk", "protobuf")} == {"optional"}
    assert {scope[name] for name in ("pytest", "mypy", "pip-audit", "mkdocs")} == {"excluded"}
    depends = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert any(ref.startswith("pkg:pypi/pymongo@") for ref in depends["incident-process"])
    (pymongo,) = [ref for ref in depends if ref.startswith("pkg:pypi/pymongo@")]
    assert [ref.partition("@")[0] for ref in depends[pymongo]] == ["pkg:pypi/dnspython"]


def test_the_bill_names_the_licence_of_all_that_is_installed_with_the_program(bill: dict[str, Any]) -> None:
    assert bill["metadata"]["component"]["licenses"] == [{"license": {"id": "MIT"}}]
    here = {canonicalize_name(one.name) for one in distributions()}  # an older Python needs more
    used = [one for one in bill["components"] if one["scope"] != "excluded" and one["name"] in here]
    assert [one["name"] for one in used if not one.get("licenses")] == []
    assert len(used) > 20
