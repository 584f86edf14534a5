"""Ask for known vulnerabilities of the pinned versions: `make audit`, by pip-audit.

Usage: audit.py [CONSTRAINTS.txt ...] [-- OPTION ...]

Without files, those of this repository. The options are pip-audit's (`-- --ignore-vuln PYSEC-...`), and its variables
count, too: PIP_AUDIT_VULNERABILITY_SERVICE (pypi, osv, esms), and for a service of your own that speaks OSV's language
PIP_AUDIT_OSV_URL.

Ends with 0 where the service knows of no vulnerability, 1 where it knows of one, 2 where the files are not as they
should be, and 3 where it could not be asked about every version or is not to be believed: that is never taken for 0.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pinned import CONSTRAINTS, ROOT, Pin, StoppedError, pins

FILES = (CONSTRAINTS, ROOT / "bench" / "peers" / "constraints.txt")
LOG = ROOT / "build" / "audit.log"
"""What pip-audit said, where it did not end as it should."""
KNOWN = "rsa==4.0"
"""A version that every service has to know as vulnerable (CVE-2020-13757); one that does not knows nothing."""
CLEAN, VULNERABLE, NOT_ASKED = 0, 1, 3
REMEDY = (
    "Reach pypi.org itself, or name another service by PIP_AUDIT_VULNERABILITY_SERVICE (osv, with one of your own: "
    "PIP_AUDIT_OSV_URL), and say make audit again."
)
SECONDS = 10
"""How long an answer is waited for."""
CAUSES = re.compile(
    "Temporary failure in name resolution|Name or service not known|No address associated with hostname|"
    "Failed to resolve|Network is unreachable|No route to host|Connection refused|timed out|Cannot connect to proxy|"
    r"CERTIFICATE_VERIFY_FAILED|Could not connect to [\w' ]+|[45]\d\d (?:Client|Server) Error: [\w ]+|JSONDecodeError"
)


def rounds(wanted: set[Pin]) -> list[set[Pin]]:
    """Part the versions so that each package is in a part once: pip-audit takes two versions for a mistake."""
    parts: list[set[Pin]] = []
    for pin in sorted(wanted):
        free = next((part for part in parts if pin.name not in {other.name for other in part}), None)
        if free is None:
            parts.append(free := set())
        free.add(pin)
    return parts


def answers(wanted: set[Pin], options: list[str]) -> list[dict[str, Any]]:
    """Return what pip-audit says of each version, and of the one that is known to be vulnerable.

    Raises:
        StoppedError: It could not ask.
    """
    with tempfile.TemporaryDirectory(prefix="incident-process-audit-") as folder:
        asked, answer = Path(folder, "versions.txt"), Path(folder, "answer.json")
        asked.write_text("".join(f"{pin}\n" for pin in sorted(wanted)) + f"{KNOWN}\n", encoding="utf-8")
        command = [sys.executable, "-P", "-m", "pip_audit", "--requirement", str(asked), "--no-deps", "--disable-pip"]
        command += ["--format", "json", "--output", str(answer), "--progress-spinner", "off", "--timeout", str(SECONDS)]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        try:
            found: list[dict[str, Any]] = json.loads(answer.read_text(encoding="utf-8"))["dependencies"]
        except (OSError, ValueError, KeyError):
            LOG.parent.mkdir(exist_ok=True)
            LOG.write_text(done.stderr, encoding="utf-8")
            causes = CAUSES.findall(done.stderr)
            cause = causes[-1] if causes else f"pip-audit ended with status {done.returncode}"
            raise StoppedError(
                f"No answer about known vulnerabilities ({cause}): nothing is said of the pinned versions. {REMEDY} "
                f"All that pip-audit said is in {LOG.relative_to(ROOT)}.",
                NOT_ASKED,
            ) from None
    return found


def told(found: list[dict[str, Any]], wanted: set[Pin]) -> int:
    """Print what was found, and return the exit status.

    Raises:
        StoppedError: The service is not to be believed.
    """
    known = Pin(*KNOWN.split("=="))
    asked = {Pin(one["name"], one["version"]): one["vulns"] for one in found if "version" in one}
    vulnerable = {pin: asked[pin] for pin in sorted(wanted & asked.keys()) if asked[pin]}
    for pin, vulnerabilities in vulnerable.items():
        for one in vulnerabilities:
            names = ", ".join([one["id"], *one.get("aliases", [])])
            fixed = (
                f"fixed in {', '.join(one['fix_versions'])}" if one["fix_versions"] else "no version is known to fix it"
            )
            print(f"{pin}: {names}; {fixed}.")
    unasked = sorted(wanted - asked.keys())
    if not asked:
        raise StoppedError(
            f"No answer about known vulnerabilities (the service has none of the {len(wanted)} versions, as a "
            f"mirror of the package index that serves packages alone): nothing is said of them. {REMEDY}",
            NOT_ASKED,
        )
    if not asked.get(known):
        raise StoppedError(
            f"The service does not know that {KNOWN} is vulnerable (CVE-2020-13757), so nothing that it says "
            f"counts. {REMEDY}",
            VULNERABLE if vulnerable else NOT_ASKED,
        )
    if unasked:
        raise StoppedError(
            f"The service does not know {len(unasked)} of {len(wanted)} versions, so nothing is said of them: "
            f"{', '.join(map(str, unasked))}.",
            VULNERABLE if vulnerable else NOT_ASKED,
        )
    if vulnerable:
        print(f"{len(vulnerable)} of {len(wanted)} pinned versions have known vulnerabilities.")
        return VULNERABLE
    print(f"No vulnerability is known of the {len(wanted)} pinned versions.")
    return CLEAN


def main(arguments: list[str]) -> int:
    """Ask about the versions of all files at once, and return the exit status."""
    parting = arguments.index("--") if "--" in arguments else len(arguments)
    files, options = [Path(name) for name in arguments[:parting]] or FILES, arguments[parting + 1 :]
    try:
        wanted = {pin for file in files for pin in pins(file)}
        return told([one for part in rounds(wanted) for one in answers(part, options)], wanted)
    except StoppedError as exc:
        print(exc, file=sys.stderr)
        return exc.status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
