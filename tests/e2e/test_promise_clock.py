"""The clock that counts is the source's: the command on a machine whose own clock is wrong (SPEC 2, 10)."""

import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import incident_process
from tests.e2e.conftest import MakeSite, Site, moment
from tests.e2e.test_crash import check_ids

SHIFT = 300
SITECUSTOMIZE = """
# Python reads this file at its start: what it says of the time is wrong by SKEW seconds from here on.
import ctypes, datetime, gc, os, time

skew = float(os.environ["SKEW"])
real_now, real_time, real_time_ns, real_clock = datetime.datetime.now, time.time, time.time_ns, time.clock_gettime
time.time = lambda: real_time() + skew
time.time_ns = lambda: real_time_ns() + int(skew * 1e9)
time.clock_gettime = lambda clock: real_clock(clock) + (skew if clock == time.CLOCK_REALTIME else 0.0)
# The class itself, for whoever has imported it by name; its dictionary may only be changed in this manner.
members = gc.get_referents(datetime.datetime.__dict__)[0]
members["now"] = classmethod(lambda cls, tz=None: real_now(tz) + datetime.timedelta(seconds=skew))
ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime.datetime))
"""
PROBE = "import datetime, time; print(time.time(), datetime.datetime.now(datetime.timezone.utc).timestamp())"


def skewed(site: Site, folder: Path, seconds: int) -> dict[str, str]:
    """Return an environment in which this machine's clock is wrong by so many seconds; make sure that it is."""
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    package = Path(incident_process.__file__).parent.parent
    env = {"SKEW": str(seconds), "PYTHONPATH": os.pathsep.join([str(folder), str(package)])}
    probed = subprocess.run([sys.executable, "-c", PROBE], env=env, capture_output=True, text=True, check=True)
    for shown in map(float, probed.stdout.split()):
        assert abs(shown - seconds - datetime.now(UTC).timestamp()) < 60
    return env


@pytest.mark.parametrize(
    ("tracking", "first", "second"),
    [("sqlite", SHIFT, -SHIFT), ("mariadb", -SHIFT, SHIFT), ("mongo", SHIFT, -SHIFT)],
)
def test_a_machine_whose_clock_is_five_minutes_off(
    make_site: MakeSite, tmp_path: Path, tracking: str, first: int, second: int
) -> None:
    """Case 12: windows end where the source's clock says; of rows on either side none is skipped and none repeated."""
    site = make_site("mariadb", tracking, customer_type="datetime", payment_type="datetime")
    site.command.configure(process={"lookback_seconds": 0})  # so that nothing but the clock decides
    site.prepare()
    for account, back in (("old", 400), ("in the window", 90), ("ahead", 30)):
        site.customers({"ACCOUNT_NUM": account, "ASSET_ID": "A1", "LOAD_DATE": moment(back)})
    report = site.run(0, **skewed(site, tmp_path, first))
    system_date = datetime.now(UTC) - timedelta(seconds=60)
    assert abs(datetime.fromisoformat(report["window"]["end"]) - system_date) < timedelta(seconds=SHIFT / 2)
    assert report["delivered"] == 2
    site.make_due()
    # As if half a minute had passed: "ahead" is in the window now.
    env = skewed(site, tmp_path, second) | {"INCIDENT_PROCESS__PROCESS__TIME_GAP_SECONDS": "5"}
    assert site.run(0, **env)["delivered"] == 1
    assert Counter(row["account_num"] for row in site.accepted()) == {"old": 1, "in the window": 1, "ahead": 1}
    check_ids(site)
