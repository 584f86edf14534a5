"""Airflow DAGs: one window of incident-process every ten minutes, and each night every account against the ledger.

The command keeps itself safe (lease, ledger, outbox), so Airflow only starts it and reads its exit status. It is
installed in a virtual environment of its own, because its dependencies are not Airflow's.
"""

import subprocess
from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

COMMAND = "/opt/incident-process/.venv/bin/incident-process"
CONFIG = "/etc/incident-process/databaseConfig.ini"

DONE, LOCKED = 0, 5
HOPELESS = {
    2: "usage or configuration: the log says which key, and what would be right",
    6: "the operation is inactive or terminated",
}
"""What no further try can mend."""


def settle(status: int, *, may_be_skipped: bool = True) -> None:
    """Turn the exit status of the command into the state of the task.

    Args:
        status: The exit status; negative where a signal ended the process.
        may_be_skipped: Whether nothing is left to do where another runner is at work.

    Raises:
        AirflowSkipException: 5, another runner is at work, where that may be.
        AirflowFailException: 2 and 6, somebody has to look; trying again would not help.
        AirflowException: All others: the next try resumes, nothing is lost.
    """
    if status == DONE:
        return
    if status == LOCKED and may_be_skipped:
        raise AirflowSkipException("another runner holds the lease")
    if status in HOPELESS:
        raise AirflowFailException(f"exit status {status}: {HOPELESS[status]}")
    raise AirflowException(f"exit status {status}: the next try resumes")


@dag(
    dag_id="incident_process",
    schedule="*/10 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # one run covers everything since the watermark
    max_active_runs=1,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": True,
        "max_retry_delay": timedelta(minutes=10),
    },
    doc_md=__doc__,
)
def incident_process() -> None:
    """One task: run the command and settle its exit status."""

    @task
    def run_window() -> None:
        # Its log becomes the task's log, and holds no personal data. Where Airflow ends the task alone, the command
        # goes on to its end under its lease, and a try that meets it is skipped.
        settle(subprocess.run([COMMAND, "run", "--config", CONFIG], check=False).returncode)  # noqa: S603  # constants

    run_window()


@dag(
    dag_id="incident_process_reconcile",
    schedule="20 3 * * *",  # UTC; put in a quiet hour of the source
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # A run may be at work, or something may be down: three hours, then the task has failed, and that has to show.
    default_args={"retries": 36, "retry_delay": timedelta(minutes=5)},
    doc_md=__doc__,
)
def incident_process_reconcile() -> None:
    """One task: compare every account of the source with the ledger, and send what is missing or stale."""

    @task
    def reconcile() -> None:
        done = subprocess.run([COMMAND, "reconcile", "--repair", "--config", CONFIG], check=False)  # noqa: S603  # constants
        settle(done.returncode, may_be_skipped=False)

    reconcile()


incident_process()
incident_process_reconcile()
