"""A program of its own: it has loaded the command already, and for each request forks a process that runs it.

A fresh interpreter spends a quarter of a second of processor time on imports before ``incident-process`` does anything,
and the tests start it more than a thousand times. The process that is forked here is as real as any: it has its own id,
folder, environment, streams, signals and exit status; only the imports are done. ``tests.support.command`` says which
starts come from here. It is run by its path, with the number of a connected socket.
"""

import contextlib
import gc
import importlib
import os
import runpy
import signal
import socket
import sys
import time

import msgspec

MOST_BYTES = 128_000
"""No request is longer: a packet has to fit into the socket's buffer."""

LOADED = (
    "incident_process.cli.commands",
    "incident_process.cli.reading",
    "incident_process.cli.repairing",
    "incident_process.cli.running",
    "incident_process.operations.doctor",
    "incident_process.app.factory",
    "incident_process.app.runner",
    "incident_process.operations.insights",
    "incident_process.core.event_loop",
    "incident_process.operations.preview",
    "incident_process.operations.reconcile",
    "incident_process.source.mysql",
    "incident_process.source.sqlite",
    "incident_process.state.mongo",
    "incident_process.state.sql",
)
"""What a run and the commands that read it load; the rest stays for the process that needs it."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What to run; with it come the descriptors of stdout, stderr and of the pipe for process id and exit status."""

    arguments: list[str]
    folder: str
    environment: dict[str, str]


def main() -> None:
    """Fork for each request until the tests hang up; in the forked process, return when all is as it was asked for."""
    requests = socket.socket(fileno=int(sys.argv[1]))
    del sys.path[0]  # this folder, which no command would have there
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # as the command does before it loads anything
    for name in LOADED:
        importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for the tests, which hang up then
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, 3)
        if not message:
            sys.exit()
        if os.fork() == 0:
            break
        for descriptor in descriptors:
            os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
                pass  # watchers of earlier requests
    requests.close()
    _watch(*descriptors)
    _become(msgspec.json.decode(message, type=Request))


def _watch(stdout: int, stderr: int, told: int) -> None:
    """Fork the command's process, and return in it only; its parent reports its end, and then ends too."""
    pid = os.fork()
    if pid:
        os.close(stdout)
        os.close(stderr)
        os.write(told, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    os.close(told)
    for descriptor, number in ((stdout, 1), (stderr, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _become(request: Request) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request.folder)
    os.environ.clear()
    os.environ.update(request.environment)
    time.tzset()
    sys.argv[:] = ["incident_process", *request.arguments]


if __name__ == "__main__":
    main()
    runpy.run_module("incident_process", run_name="__main__", alter_sys=True)
