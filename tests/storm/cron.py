"""Runs the command over and over, as cron would, and kills, pauses and doubles the runners meanwhile."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack, suppress

from tests.storm.plan import RunPlan
from tests.support.command import KILLED, Command, Finished, Running

LONGEST_RUN_SECONDS = 80.0
"""A run has to end by then, whatever fails: its own limits of waiting are below that, one after the other."""
LONGEST_ON_CLUSTER_SECONDS = 180.0
"""The same where the cluster has limits of its own: a minute without any worker is one of them."""

VARIABLE = "INCIDENT_PROCESS_FAULT"

EXPECTED = {0, 3, 4, 5}
"""How a run may end in a storm (README, exit status); 1 is an unexpected fault, 2 a configuration found wrong."""


class Cron:
    """``results`` counts how runs ended, ``disturbances`` what cron did to them; ``strange`` what must not happen."""

    def __init__(self, command: Command, longest: float = LONGEST_RUN_SECONDS) -> None:
        self.results: Counter[str] = Counter()
        self.disturbances: Counter[str] = Counter()
        self.strange: list[str] = []
        self._command = command
        self._longest = longest

    def work(self, plans: Iterable[RunPlan], stop: threading.Event) -> None:
        """Go through the plans until the storm ends; the run that is under way then is waited for."""
        for plan in plans:
            if stop.wait(plan.rest):
                return
            with ExitStack() as stack:
                self._run(plan, stack)

    def call(self, *arguments: str) -> Finished:
        """One command in peace."""
        with self._command.started(*arguments) as running:
            return self._wait(running)

    def _run(self, plan: RunPlan, stack: ExitStack) -> None:
        env = {VARIABLE: plan.fault} if plan.fault else None
        first = stack.enter_context(self._command.started("run", "--json", env=env))
        runners = [first]
        began = time.monotonic()
        if plan.twin is not None:
            time.sleep(plan.twin)
            runners.append(self._second(stack))
        _watch(first, began + plan.after)
        # Asked directly before the signal: what has not been waited for still owns its number.
        if plan.ending == "kill" and not first.has_ended:
            os.kill(first.pid, signal.SIGKILL)
        elif plan.ending == "terminate" and not first.has_ended:
            os.kill(first.pid, signal.SIGTERM)
            self.disturbances["run: asked to end"] += 1
        elif plan.ending == "pause" and not first.has_ended:
            os.kill(first.pid, signal.SIGSTOP)
            time.sleep(plan.pause)
            second = self._second(stack)
            runners.append(second)
            _watch(second, time.monotonic() + plan.overlap)
            with suppress(ProcessLookupError):  # a successor ends who was stopped with the lock of a SQLite file
                os.kill(first.pid, signal.SIGCONT)
            self.disturbances["run: paused"] += 1
        for number, running in enumerate(runners):
            self._note(self._wait(running), plan if number == 0 else None)

    def _second(self, stack: ExitStack) -> Running:
        self.disturbances["run: second runner"] += 1
        return stack.enter_context(self._command.started("run", "--json"))

    def _wait(self, running: Running) -> Finished:
        _watch(running, time.monotonic() + self._longest)
        if running.has_ended:
            return running.wait()
        ended = running.kill()
        self.strange.append(f"a run did not end within {self._longest:g} s:\n{ended.stderr[-3000:]}")
        return ended

    def _note(self, ended: Finished, plan: RunPlan | None) -> None:
        killed = ended.status == KILLED
        self.results["killed" if killed else str(ended.status)] += 1
        if killed and plan is not None:
            self.disturbances[f"run: killed {'at ' + plan.fault.partition(':')[0] if plan.fault else 'at random'}"] += 1
        asked = plan is not None and plan.ending == "terminate" and ended.status == -signal.SIGTERM
        if not (killed or asked or ended.status in EXPECTED):  # asked before it had begun: then nothing was begun
            self.strange.append(f"a run ended with status {ended.status}:\n{ended.stderr[-3000:]}")


def _watch(running: Running, until: float) -> None:
    """Wait until the process has ended, but not longer than until then."""
    while not running.has_ended and time.monotonic() < until:
        time.sleep(0.02)
