"""The parent's end of the worker process (device/timing/worker), which builds and times candidates.

Makes an Outcome from each Request. On the machine that runs engines. Leaves out what is asked for, and what to do about
a worker that died (device/timing/profiling).
"""

import contextlib
import json
import subprocess
import sys
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from pomt_trt.core.errors import PomtError
from pomt_trt.core.progress import Progress
from pomt_trt.core.storage import store
from pomt_trt.core.timing_protocol import environment
from pomt_trt.device.timing.worker_protocol import Request


class Outcome(NamedTuple):
    """How a request ended: exit_code 0, or that of the worker that died of it."""

    exit_code: int
    building: Optional[str] = None  # the candidate whose build was going on at the end
    done: Tuple[str, ...] = ()


class Worker:
    """A process that is started with the first request and kept for the next ones; one that died is replaced.

    A context manager. Not for threads.
    """

    def __init__(self) -> None:
        self._process: Optional["subprocess.Popen[bytes]"] = None

    def do(self, request: Request, progress: Progress) -> Outcome:
        """Has one request done.

        Raises: PomtError as the worker explained it, with its exit code.
        """
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        building: Optional[str] = None
        done: List[str] = []
        last = "built" if request.latency is None else "profiled"
        asked = {job.candidate_id for job in request.jobs}
        try:
            self._send(request)
            for line in process.stdout:
                event = json.loads(line.decode())
                _raise_error(event)
                if event["event"] == "done":
                    return Outcome(0, None, tuple(done))
                building = event["id"] if event["event"] == "building" else None
                finished = event["event"] in ("failed", last)
                if finished:
                    done.append(event["id"])
                _show(event, progress, counts=finished and event["id"] in asked)
        except BaseException:
            self.close(kill=True)
            raise
        return Outcome(self.close(), building, tuple(done))

    def close(self, kill: bool = False) -> int:
        """Ends the process, if there is one; returns its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None and process.stdout is not None
        if kill:
            process.kill()
        with contextlib.suppress(BrokenPipeError):  # what it did not read before it died
            process.stdin.close()
        process.stdout.close()
        return process.wait()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._process = subprocess.Popen(  # Ctrl-C is for this process alone, which then ends the child
                [sys.executable, "-m", "pomt_trt.device.timing.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment(None),
                start_new_session=True,
            )
        return self._process

    def _send(self, request: Request) -> None:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(store.to_json(request)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died; its exit code says how


def _raise_error(event: Dict[str, Any]) -> None:
    """An error that the child explained is raised here as what it was."""
    if event["event"] != "error":
        return
    error = PomtError(event["text"])
    error.exit_code = event["exit_code"]
    raise error


def _show(event: Dict[str, Any], progress: Progress, counts: bool) -> None:
    name, step = event["event"], progress.step if counts else progress.show
    if name == "profiled":
        step("{} {:.2f} ms {}".format(event["id"], event["latency_ms"], event["verdict"]))
    elif name == "failed":
        progress.message("{} cannot be built: {}".format(event["id"], event["reason"]))
        step("")
    elif name == "timing":
        step(event["text"])
    elif "id" in event:
        step("{} {}".format(name, event["id"]))
