"""dlt from MySQL to a REST API, a request a row: ``dlt_rows.py FOLDER ROWS URL TABLE COLUMN...``.

It runs in dlt's own environment, the database's address in BENCH_SOURCE. Rows come by dlt's ``sql_table`` and go to a
custom destination, as its documentation has it for REST APIs; several load files, so that its load workers post side
by side, each over a kept-alive connection. It prints how many rows were posted.
"""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"
# dlt is in its own environment only, not where this is checked.

import os
import sys
import threading
from typing import Any

FOLDER, ROWS, URL, TABLE, *COLUMNS = sys.argv[1:]
WORKERS = 8
HEADERS = {"Content-Type": "application/json"}

os.environ["DLT_DATA_DIR"] = FOLDER
os.environ["LOAD__WORKERS"] = str(WORKERS)
os.environ["NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS"] = str(max(int(ROWS) // WORKERS, 1))

import dlt  # noqa: E402 - it reads the settings above
import requests  # noqa: E402
from dlt.common import json  # noqa: E402
from dlt.sources.sql_database import sql_table  # noqa: E402

_own = threading.local()
_posted: list[int] = []


@dlt.destination(batch_size=100, name="rest", max_parallel_load_jobs=WORKERS)
def rest(items: list[dict[str, Any]], _table: Any) -> None:
    """Post each row by itself."""
    if not hasattr(_own, "session"):
        _own.session = requests.Session()
        _own.session.trust_env = False
    for item in items:
        _own.session.post(URL, data=json.dumpb(item), headers=HEADERS, timeout=30).raise_for_status()
    _posted.append(len(items))


def main() -> None:
    """Run the pipeline over the first rows of the table."""
    rows = sql_table(
        os.environ["BENCH_SOURCE"],
        TABLE,
        included_columns=COLUMNS,
        query_adapter_callback=lambda query, _table: query.limit(int(ROWS)),
    )
    dlt.pipeline("bench", pipelines_dir=FOLDER, destination=rest).run(rows)
    sys.stdout.write(f"{sum(_posted)}\n")


if __name__ == "__main__":
    main()
