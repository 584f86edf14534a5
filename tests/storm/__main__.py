"""Storms, and their figures: ``python -m tests.storm --seconds 600 --seed 7 --state all``.

The exit status is 1 when one of them broke the promise, and the first differences are printed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.storm.plan import ON_REQUEST, SHARED, SOURCES, STATES, make_plan
from tests.storm.storm import run_storm
from tests.storm.writing import WRITERS, transactions


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.storm", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the storm lasts, for each state (60)")
    parser.add_argument("--seed", type=int, default=1, help="what decides everything (1)")
    parser.add_argument(
        "--state", choices=[*STATES, *ON_REQUEST, "all"], default="all", help="where the state is kept (all)"
    )
    parser.add_argument("--source", choices=SOURCES, help="where the rows are (mysql where the state is, else mariadb)")
    parser.add_argument("--cluster", action="store_true", help="on a Dask cluster of three workers, which suffers too")
    parser.add_argument("--plan", action="store_true", help="print the plan and do nothing")
    arguments = parser.parse_args()
    broken = False
    states = SHARED if arguments.cluster else STATES
    for state in states if arguments.state == "all" else [arguments.state]:
        plan = make_plan(arguments.seed, state, arguments.seconds, source=arguments.source, cluster=arguments.cluster)
        if arguments.plan:
            _print(*plan.lines())
            for writer in range(WRITERS):
                made = transactions(plan.seed, writer, plan.site)
                _print(*(f"writer {writer}: {next(made)}" for _ in range(int(plan.seconds))))
            continue
        with tempfile.TemporaryDirectory(prefix="storm-") as folder:
            report = run_storm(plan, Path(folder))
        _print(*report.lines())
        broken = broken or bool(report.problems)
    return 1 if broken else 0


def _print(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
