"""Airflow DAG: one window of incident-process, every ten minutes.

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


def settle(status: int) -> None:
    """Turn the exit status of the command into the state of the task.

    Raises:
        AirflowSkipException: 5, another runner is at work: nothing is left to do.
        AirflowFailException: 2 and 6, somebody has to look; trying again would not help.
        AirflowException: 1, 3, 4 and a killed process: the next try resumes, nothing is lost.
    """
    if status == DONE:
        return
    if status == LOCKED:
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


incident_process()
