"""The engine on a Dask cluster: starts or joins one, and hands chunks to its workers. Loaded only where it is used.

A cluster of this machine talks over TLS with certificates that live as long as it does: a user who reaches a scheduler
may run code in its workers, and other users of the machine reach its ports. Certificates for a ``tls://`` scheduler are
Dask's own configuration (``distributed.comm.tls``).
"""

import asyncio
import logging
import os
import secrets
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Set
from concurrent.futures import CancelledError
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from incident_process.cluster.protocol import ChunkResult, ChunkTask, WorkerPoolLostError
from incident_process.cluster.settings_reference import Reference
from incident_process.core import safe_path
from incident_process.core.errors import ConfigurationError
from incident_process.core.local_places import PREFIX, temporary_space
from incident_process.core.logs import event, get_logger
from incident_process.settings import Settings

try:
    import dask
    from distributed import Client, LocalCluster, WorkerPlugin
    from distributed.scheduler import KilledWorker
    from distributed.security import Security
except ImportError as exc:  # an extra, see pyproject.toml
    raise ConfigurationError(
        '[ENGINE] engine = dask, but Dask is not installed: pip install "incident-process[dask]".'
    ) from exc

log = get_logger()

THREADS = 2
"""Chunks that a worker of a local cluster has under way at once: it builds one while it sends another."""
CONNECT_SECONDS = 10.0
"""Seconds that a scheduler may take to answer."""
WORKERLESS_SECONDS = 60.0
"""Seconds that a cluster may be without any worker before the run gives up."""
ASK_SECONDS = 1.0
"""Seconds for which the scheduler's answer about its workers is used."""
TELL_SECONDS = 5.0
"""Seconds that the workers may take to receive a message."""
LOSSES = 4
"""Times that all workers which may process a task are lost before the run gives up."""

SILENT = "a worker does not answer"
"""What is said of one that may fit, and is left out all the same."""

Unfit = Callable[[Reference], str | None]
"""Says in a worker why it must not work for a run."""


def require_certificates(settings: Settings) -> None:
    """Raise ConfigurationError where the scheduler is named with ``tls://`` and Dask has no certificates to use."""
    scheduler = settings.engine.scheduler
    if scheduler is None or urlsplit(scheduler).scheme != "tls":
        return
    try:
        if Security().get_connection_args("client")["ssl_context"] is not None:  # type: ignore[no-untyped-call]
            return
        said = "Dask has no certificates for it"
    except (OSError, ValueError) as exc:  # of ssl, too
        said = f"Dask's certificates cannot be used ({type(exc).__name__})"
    raise ConfigurationError(
        f"[ENGINE] scheduler is {scheduler}, but {said}: name the PEM files in DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
        "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY, or in Dask's own "
        "configuration."
    )


async def look_at_workers(settings: Settings, unfit: Unfit) -> tuple[dict[str, int], dict[str, str]]:
    """Return the threads of each worker of the named scheduler, and of each that does not fit the reason.

    Raises WorkerPoolLostError when the scheduler cannot be reached.
    """
    scheduler = settings.engine.scheduler or ""
    with _quiet():
        async with AsyncExitStack() as stack:
            client = await _remote(stack, scheduler)
            threads = await _threads(client, f"the Dask scheduler {scheduler}")
            return threads, await _faults(client, unfit, Reference.to(settings, secrets.token_hex(16)), threads)


async def _threads(client: Any, name: str) -> dict[str, int]:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return dict(await client.nthreads())
    except Exception as exc:
        raise WorkerPoolLostError(f"{name} was lost") from exc


async def _faults(client: Any, unfit: Unfit, reference: Reference, workers: Collection[str]) -> dict[str, str]:
    async def fault_of(worker: str) -> str | None:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                found = (await client.run(unfit, reference, workers=[worker], on_error="return"))[worker]
        except Exception:
            return SILENT
        if isinstance(found, OSError):
            return SILENT  # it went away while it was asked
        if isinstance(found, BaseException):
            return f"a worker cannot load incident-process {reference.version}: install the same on all."
        return None if found is None else str(found)

    faults = zip(workers, await asyncio.gather(*map(fault_of, workers)), strict=True)
    return {worker: fault for worker, fault in faults if fault is not None}


@asynccontextmanager
async def dask_pool(
    settings: Settings,
    run_chunk: Callable[[Reference, ChunkTask], ChunkResult],
    end_run: Callable[[str, str, bool], None],
    unfit: Unfit,
) -> AsyncIterator["DaskPool"]:
    """Provide a cluster's workers while the block runs; they load the three functions by their names.

    Raises WorkerPoolLostError when the cluster cannot be started or reached.
    """
    engine = settings.engine
    with _quiet():
        async with AsyncExitStack() as stack:
            if engine.scheduler is None:
                name = f"the local cluster of {engine.workers} worker(s)"
                client = await _local(stack, engine.workers)
            else:
                name = f"the Dask scheduler {engine.scheduler}"
                client = await _remote(stack, engine.scheduler)
            yield DaskPool(client, Reference.to(settings, secrets.token_hex(16)), name, run_chunk, end_run, unfit)


class DaskPool:
    """``cluster.protocol.WorkerPool`` over a client of a scheduler.

    Workers that were there before the run are used only if they fit: each task names the workers that may process it.
    """

    def __init__(
        self,
        client: Any,
        reference: Reference,
        name: str,
        run_chunk: Callable[[Reference, ChunkTask], ChunkResult],
        end_run: Callable[[str, str, bool], None],
        unfit: Unfit,
    ) -> None:
        self._run_chunk = run_chunk
        self._end_run = end_run
        self._unfit = unfit
        self._client = client
        self._reference = reference
        self._name = name
        self._threads: dict[str, int] = {}
        self._faults: dict[str, str] = {}
        self._had_workers = False
        self._asked = float("-inf")
        self._seen = time.monotonic()

    async def slots(self) -> int:
        """Return how many threads the workers have.

        Raises:
            ConfigurationError: No worker fits the run.
            WorkerPoolLostError: There was no worker for too long.
        """
        now = time.monotonic()
        if now - self._asked > ASK_SECONDS:
            await self._ask()
            self._asked = now
        if self._threads:
            self._seen = now
        elif now - self._seen > WORKERLESS_SECONDS:
            raise WorkerPoolLostError(
                f"{self._name} had no worker for {WORKERLESS_SECONDS:g} s: start one with `dask worker`"
            )
        return sum(self._threads.values())

    async def run(self, task: ChunkTask, avoid: Collection[str]) -> ChunkResult:
        """Have one worker process a task, and another one should it die.

        With ``avoid`` the scheduler may use only the other workers: if that were a mere preference, an idle worker that
        fails at once would take the task back from a busy one that could process it.
        """
        done = None
        for _ in range(LOSSES):  # where all that may process it are gone, the task would wait for them for ever
            done = await self._run(task, await self._allowed(avoid))
            if done is not None:
                break
        else:
            raise WorkerPoolLostError(self._died)
        if not isinstance(done, ChunkResult):
            raise WorkerPoolLostError(f"{self._name} gave no result for a chunk")
        return done

    async def _allowed(self, avoid: Collection[str]) -> Set[str]:
        """Return the workers that may process a task; the empty set is every worker of a cluster of this machine."""
        if self._reference.is_local:
            return frozenset(self._threads.keys() - set(avoid) if avoid else ())
        while not self._threads:
            await asyncio.sleep(ASK_SECONDS)
            await self.slots()
        return frozenset(self._threads.keys() - set(avoid) or self._threads)

    async def _run(self, task: ChunkTask, workers: Set[str]) -> object:
        """Return the result of a task that only these workers may process, or all; None where none of these is left."""
        future = self._client.submit(
            self._run_chunk,
            self._reference,
            task,
            key=f"incident-process-chunk-{task.run_id}-{task.scope}-{secrets.token_hex(8)}",
            pure=False,
            workers=sorted(workers) or None,
        )
        waiting = asyncio.ensure_future(future)
        try:
            while not (await asyncio.wait({waiting}, timeout=ASK_SECONDS if workers else None))[0]:
                await self.slots()
                if not workers & self._threads.keys():
                    return None
            return waiting.result()
        except KilledWorker as exc:
            raise WorkerPoolLostError(self._died) from exc
        except CancelledError as exc:
            raise WorkerPoolLostError(f"{self._name} was lost") from exc
        except (ImportError, AttributeError) as exc:
            raise ConfigurationError(
                f"a worker of {self._name} cannot load incident-process: install the same version of it there."
            ) from exc
        finally:
            waiting.cancel()
            future.release()

    async def end(self, run_id: str, reason: str, *, begun: bool = True) -> None:
        """Tell all workers that the run must end."""
        with suppress(Exception):  # the next run fences a worker that cannot be told
            async with asyncio.timeout(TELL_SECONDS):
                await self._client.run(self._end_run, run_id, reason, begun, on_error="ignore")

    async def _ask(self) -> None:
        threads = await _threads(self._client, self._name)
        self._faults = {worker: fault for worker, fault in self._faults.items() if worker in threads}
        new = threads.keys() - self._threads.keys() - self._faults.keys()
        if new and not self._reference.is_local:
            faults = await _faults(self._client, self._unfit, self._reference, new)
            none_fits = len(self._faults) + len(faults) == len(threads) and SILENT not in faults.values()
            if none_fits and not self._had_workers:
                raise ConfigurationError(
                    f"no worker of {self._name} fits the run: "
                    + "; ".join(f"{worker}: {fault}" for worker, fault in sorted(faults.items()))
                )
            for worker, fault in sorted(faults.items()):
                log.warning(
                    "The worker %s of %s is left out: %s",
                    worker,
                    self._name,
                    fault,
                    extra=event("worker_left_out", worker=worker, fault=fault),
                )
            self._faults |= faults
        threads = {worker: count for worker, count in threads.items() if worker not in self._faults}
        self._had_workers = self._had_workers or bool(threads)
        gone = self._threads.keys() - threads.keys()
        if gone:
            log.warning(
                "%d worker(s) of %s are gone; what they were at is done by others.",
                len(gone),
                self._name,
                extra=event("workers_gone", workers=len(gone)),
            )
        self._threads = threads

    @property
    def _died(self) -> str:
        return (
            f"the workers of {self._name} died one after the other over a chunk of accounts: see why in their logs; "
            "too little memory is the usual reason, then lower [PROCESS] chunk_accounts"
        )


class _Shielded(WorkerPlugin):
    """Shields a worker of a local cluster.

    It survives Ctrl-C, which a terminal sends to all: the run ends it in order. And it serves no HTTP: Dask's pages
    need no login, so every user of the machine could read them, and no setting turns them off.
    """

    name = "incident-process-shield"

    def setup(self, worker: Any) -> None:  # Dask's form
        worker.http_server.stop()
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, signal.SIG_IGN)


async def _local(stack: AsyncExitStack, workers: int) -> Any:
    with temporary_space():
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True))
    stack.enter_context(_safe_interpreters())
    try:
        cluster = await stack.enter_async_context(
            LocalCluster(  # type: ignore[no-untyped-call]  # Dask says nothing about it
                n_workers=workers,
                threads_per_worker=THREADS,
                security=True,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                local_directory=folder,
                memory_limit=0,  # chunk_accounts bounds the memory of a chunk
                silence_logs=logging.CRITICAL,
                asynchronous=True,
            )
        )
        client = Client(cluster, asynchronous=True, set_as_default=False)  # type: ignore[no-untyped-call]  # as above
        await stack.enter_async_context(client)
        cluster.scheduler.http_server.stop()
        await client.register_plugin(_Shielded())
    except Exception as exc:
        raise WorkerPoolLostError(
            f"the local cluster could not be started ({type(exc).__name__}); a script that starts a run needs "
            'the line `if __name__ == "__main__":` before it'
        ) from exc
    return client


@contextmanager
def _safe_interpreters() -> Iterator[None]:
    """Keep the workers' interpreters, also later replacements, from importing modules of the current folder."""
    before = {name: os.environ.get(name) for name in safe_path.SAFE}
    os.environ.update(safe_path.SAFE)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


async def _remote(stack: AsyncExitStack, scheduler: str) -> Any:
    try:
        client = Client(  # type: ignore[no-untyped-call]  # Dask says nothing about it
            scheduler, asynchronous=True, set_as_default=False, timeout=CONNECT_SECONDS
        )
        return await stack.enter_async_context(client)
    except Exception as exc:
        raise WorkerPoolLostError(f"the Dask scheduler {scheduler} cannot be reached ({type(exc).__name__})") from exc


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's own logs off stderr, from here on: the run says what matters, and what Dask says may come late."""
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.partition(".")[0] in ("distributed", "tornado", "bokeh"):
            logger.setLevel(logging.CRITICAL + 1)
    with dask.config.set(
        {
            # The run must not wait for a scheduler that is gone: the next run begins where this one ends.
            "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS:g}s",
            # This applies to workers of a local cluster too: their profiler would sample all threads every 10 ms.
            "distributed.worker.profile.enabled": False,
            # Their servers have no page until they are stopped.
            "distributed.scheduler.http.routes": [],
            "distributed.worker.http.routes": [],
        }
    ):
        yield
