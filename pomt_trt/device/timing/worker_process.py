"""The parent's end of a worker (device/timing/worker): does Requests one after the other, in a child that is kept."""

import math
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from pomt_trt.core.child_process import Child, Died, command, environment
from pomt_trt.core.progress import Progress
from pomt_trt.core.storage import store
from pomt_trt.device.timing.worker_protocol import Request


class Outcome(NamedTuple):
    """How a request ended: exit_code 0, or that of the worker that died of it."""

    exit_code: int
    building: Optional[str] = None  # the candidate that was being built when it died
    done: Tuple[str, ...] = ()


class Worker:
    """A child that is started with the first request and kept for the next ones; one that died is replaced.

    A context manager. Not for threads.
    """

    def __init__(self) -> None:
        self._child: Optional[Child] = None

    def do(self, request: Request, progress: Progress) -> Outcome:
        """Has one request done. Raises: what the worker raised."""
        events = _Events(request, progress)
        try:
            if self._child is None:
                program = command("pomt_trt.device.timing.worker")
                self._child = Child("", program, environment(None), answer_s=math.inf, own_session=True)
            self._child.ask(store.to_json(request), events.hear)
            return Outcome(0, None, tuple(events.done))
        except Died as death:
            self.close()
            return Outcome(death.returncode, events.building, tuple(events.done))
        except BaseException:
            self.close(kill=True)
            raise

    def close(self, kill: bool = False) -> None:
        """Ends the process, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            child.close(kill)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()


class _Events:
    """What a worker has told of one request. Attributes: building (candidate, or None), done (candidates)."""

    def __init__(self, request: Request, progress: Progress) -> None:
        self.building: Optional[str] = None
        self.done: List[str] = []
        self._progress, self._last = progress, "built" if request.latency is None else "profiled"
        self._requested = {job.candidate_id for job in request.jobs}

    def hear(self, event: Dict[str, Any]) -> None:
        self.building = event["id"] if event["event"] == "building" else None
        finished = event["event"] in ("failed", self._last)
        if finished:
            self.done.append(event["id"])
        _show(event, self._progress, counts=finished and event["id"] in self._requested)


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
