"""One run of the field kit: step after step, what they found, and how each ended.

Makes an Archive of core/field_kit/archive_file from a kit, on the board. A step that fails, hangs or is killed costs
itself and what needs it; the time has a limit; Ctrl-C ends the steps and keeps what there is. Leaves out the command
line (device/field_kit/main), the steps themselves (device/field_kit/steps), and what the figures mean
(core/field_kit/judgement).
"""

import contextlib
import functools
import json
import os
import platform
import re
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple

from pomt_trt import __version__
from pomt_trt.core.child_process import environment
from pomt_trt.core.field_kit import archive_file, records
from pomt_trt.core.field_kit.archive_file import Archive
from pomt_trt.core.field_kit.personal import Remover
from pomt_trt.core.field_kit.records import DONE, FAILED, SKIPPED, BuildResult, Collected, Kit, Step
from pomt_trt.core.progress import Progress
from pomt_trt.device.board.jetson import identity
from pomt_trt.device.field_kit import identifiers, process, watch
from pomt_trt.device.field_kit.held_clocks import HeldClocks
from pomt_trt.device.field_kit.interrupts import OneInterrupt
from pomt_trt.device.field_kit.tasks import LEAST_S, Task

RESERVE_S = 20.0  # of the time, for the last sensors, the clocks and the archive
MOST_LOG = 64 << 10  # characters of what a step said: their end
_VERSION = re.compile(r"^\d+(\.\d+){3}(?=[\s,]|$)")
_CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


class Plan(NamedTuple):
    """What is asked of a run."""

    kit: Kit
    folder: str  # the kit's
    tasks: List[Task]
    minutes: float  # at most
    scripts: Optional[str]  # the folder of with_clocks; None: the clocks are left alone
    root: str = "/"  # where /proc, /sys and /etc are found


class Collector:
    """What a run has found so far."""

    def __init__(self, plan: Plan, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            clock: seconds.
        """
        self._plan, self._progress, self._clock = plan, progress, clock
        self._started_s = clock()
        self._ends_s = self._started_s + 60 * plan.minutes - RESERVE_S
        self._watch: Optional[watch.Watch] = None  # from the moment on at which clocks are locked
        self._steps: Dict[str, Step] = {}
        self._logs: Dict[str, str] = {}
        self._layer_files: Dict[str, str] = {}
        self._found = Collected(
            version=__version__,
            date=time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime()),
            minutes=plan.minutes,
            seconds=0.0,
            kit=plan.kit,
            machine=_machine(plan.root),
            steps=(),
            moments={},
        )

    def collect(self, interrupt: OneInterrupt) -> Collected:
        """Does all steps, or those before Ctrl-C; returns what they found."""
        tasks = self._plan.tasks
        try:
            self._sense("before")
            self._do(tasks[0])  # before clocks are locked: it says how the board is found
            with self._clocks():
                self._sense("locked")
                self._watch = watch.Watch(self._plan.root, self._clock)
                for task in tasks[1:]:
                    self._do(task)
            interrupt.over()
        except KeyboardInterrupt:
            self._found = self._found._replace(interrupted=True)
            self._end(records.CLOCKS, "", SKIPPED, 0.0, "interrupted")
            for task in tasks:
                self._end(task.kind, task.about, SKIPPED, 0.0, "interrupted")
        self._sense("after")
        self._found = self._found._replace(
            steps=tuple(self._steps.values()),
            seconds=self._clock() - self._started_s,
            watched=None if self._watch is None else self._watch.watched(),
        )
        return self._found

    def archive(self) -> Archive:
        """All of it without what is personal."""
        remover = Remover(self._known())
        files = {}
        for name, text in self._logs.items():
            files["logs/{}.txt".format(_file_name(remover.text(name)))] = remover.text(text).encode("utf-8")
        for name, path in self._layer_files.items():
            with contextlib.suppress(OSError, ValueError):  # told by the step as 0 layers
                with open(path, encoding="utf-8") as file:
                    layers = json.dumps(remover.everywhere(json.load(file))).encode("ascii")
                if len(layers) <= archive_file.MOST_BYTES:
                    files["layers/{}.json".format(_file_name(remover.text(name)))] = layers
        return Archive(remover.everywhere(self._found), files)

    def _known(self) -> Any:
        folders = [(self._plan.folder, "KIT"), (_CHECKOUT, "CHECKOUT"), (sys.prefix, "PYTHON")]
        folders.append((self._plan.root, "ROOT"))
        folders += [(os.path.realpath(path), mark) for path, mark in folders]
        values = [finding.value for finding in self._found.findings]
        versions = [found.group() for found in map(_VERSION.match, values) if found]
        if self._found.device is not None:
            versions.append(self._found.device.engine_version)
        return identifiers.of_this_machine(self._plan.root, dict(os.environ), folders, versions)

    def _sense(self, when: str) -> None:
        """Reads all sensors."""
        began_s = self._clock()
        try:
            self._found.moments[when] = watch.moment(self._plan.root)
        except Exception as error:  # whatever a strange /sys leads to, the other steps are worth more than a traceback
            reason = "{}: {}".format(type(error).__name__, error)
            self._end(records.SENSORS, when, FAILED, self._clock() - began_s, reason)
            return
        self._end(records.SENSORS, when, DONE, self._clock() - began_s)

    @contextlib.contextmanager
    def _clocks(self) -> Iterator[None]:
        """Holds the clocks, if that is wanted and can be had; the wait for a password is not counted as time."""
        if self._plan.scripts is None:
            self._end(records.CLOCKS, "", SKIPPED, 0.0, "they were to be left alone")
            yield
            return
        began_s = self._clock()
        self._tell(self._progress.show, "locking the clocks; sudo may ask for a password")
        with HeldClocks(self._plan.scripts) as held:
            waited_s = self._clock() - began_s
            self._ends_s += waited_s
            self._logs[records.CLOCKS] = held.said
            self._found = self._found._replace(clocks_held=not held.reason)
            self._end(records.CLOCKS, "", FAILED if held.reason else DONE, waited_s, held.reason)
            yield

    def _do(self, task: Task) -> None:
        """One step, unless what it needs or the time is missing."""
        left_s = self._ends_s - self._clock()
        needed = self._steps.get(task.needs)
        if task.needs and (needed is None or needed.status != DONE):
            self._end(task.kind, task.about, SKIPPED, 0.0, "'{}' was not done".format(task.needs))
        elif left_s < LEAST_S[task.kind]:
            reason = "{:.0f} s of {:g} minutes are left, and it takes {:.0f} s at least"
            reason = reason.format(max(0.0, left_s), self._plan.minutes, LEAST_S[task.kind])
            self._end(task.kind, task.about, SKIPPED, 0.0, reason)
        else:
            self._run(task, left_s)

    def _run(self, task: Task, left_s: float) -> None:
        began_s = self._clock()
        tick = functools.partial(self._tick, task)
        try:
            ended = process.run(task.command, left_s, tick, environment(None))
        except KeyboardInterrupt:
            self._end(task.kind, task.about, FAILED, self._clock() - began_s, "interrupted")
            raise
        except OSError as error:
            self._end(task.kind, task.about, FAILED, self._clock() - began_s, "it does not start: {}".format(error))
            return
        self._logs[task.name] = ended.err[-MOST_LOG:]
        if ended.timed_out:
            reason = "it was ended after {:.0f} s, when the {:g} minutes were over"
            reason = reason.format(ended.seconds, self._plan.minutes)
            self._end(task.kind, task.about, FAILED, ended.seconds, reason)
            return
        try:
            self._keep(task.kind, task.result(ended))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            self._end(task.kind, task.about, FAILED, ended.seconds, str(error))
            return
        self._end(task.kind, task.about, DONE, ended.seconds)

    def _tick(self, task: Task, spent_s: float) -> None:
        self._tell(self._progress.show, "{}, {:.0f} s".format(task.name, spent_s))
        if self._watch is not None:
            with contextlib.suppress(Exception):  # told by the steps that read the sensors
                self._watch.look()

    def _keep(self, kind: str, result: Any) -> None:
        found = self._found
        if kind == records.DOCTOR:
            self._found = found._replace(findings=result)
        elif kind == records.BUILD:
            built: BuildResult = result
            self._found = found._replace(device=built.device, built=found.built + built.built)
            self._layer_files.update(built.layer_files)
        elif kind == records.TIME:
            self._found = found._replace(timed=found.timed + result)
        else:
            self._found = found._replace(ratios=found.ratios + result)

    def _end(self, kind: str, about: str, status: str, seconds: float, error: str = "") -> None:
        """Notes how a step ended, the first time that it does."""
        step = Step(kind, about, status, seconds, error)
        if step.name in self._steps:
            return
        self._steps[step.name] = step
        told = "{:8} {}{}".format(status, step.name, ", {:.0f} s".format(seconds) if status == DONE else ": " + error)
        self._tell(self._progress.message, told)
        self._tell(self._progress.step, step.name)

    def _tell(self, say: Callable[[str], None], text: str) -> None:
        """Says how far it is; a terminal that is gone (a lost connection) must not cost the archive."""
        with contextlib.suppress(OSError):
            say(text)


def _machine(root: str) -> str:
    """Such as 'NVIDIA Jetson TX2, L4T 32.7.6, JetPack 4.6.6, power mode MAXN'; elsewhere its architecture."""
    found: Optional[Any] = identity(root)
    if found is None:
        return "no Jetson, {}".format(platform.machine())
    known: Tuple[Tuple[str, Optional[str]], ...] = (
        ("L4T", found.l4t),
        ("JetPack", found.jetpack),
        ("power mode", found.power_mode),
    )
    return ", ".join([found.module] + ["{} {}".format(name, value or "not known") for name, value in known])


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[:100] or "unnamed"
