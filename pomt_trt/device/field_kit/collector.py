"""Runs the steps of the field kit one after the other, and collects their results in an Archive.

If a step fails, hangs or is killed, only the steps that need it are skipped. The time has a limit. Ctrl-C ends the
steps and keeps the results so far.
"""

import contextlib
import functools
import json
import os
import platform
import re
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from pomt_trt import __version__
from pomt_trt.core.child_process import environment
from pomt_trt.core.field_kit import archive_file, records
from pomt_trt.core.field_kit.archive_file import Archive
from pomt_trt.core.field_kit.personal import Remover
from pomt_trt.core.field_kit.records import DONE, FAILED, SKIPPED, BuildResult, Collected, Kit, KitStep
from pomt_trt.core.progress import Progress
from pomt_trt.device.board.jetson import identity
from pomt_trt.device.field_kit import identifiers, process, watch
from pomt_trt.device.field_kit.held_clocks import HeldClocks
from pomt_trt.device.field_kit.interrupts import OneInterrupt
from pomt_trt.device.field_kit.tasks import LEAST_S, Task

RESERVE_S = 20.0  # of the time: for reading the sensors, restoring the clocks and writing the archive
MOST_LOG = 64 << 10  # characters of a step's output: the last ones
_VERSION = re.compile(r"^\d+(\.\d+){3}(?=[\s,]|$)")
_CHECKOUT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))


class Plan(NamedTuple):
    """The settings of a run."""

    kit: Kit
    folder: str  # of the kit
    tasks: List[Task]
    minutes: float  # time limit
    scripts: Optional[str]  # folder of with_clocks; None: do not lock the clocks
    root: str = "/"  # folder with /proc, /sys and /etc


class Collector:
    """A run and its results so far. `clock` gives seconds."""

    def __init__(self, plan: Plan, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan, self._progress, self._clock = plan, progress, clock
        self._started_s = clock()
        self._ends_s = self._started_s + 60 * plan.minutes - RESERVE_S
        self._watch: Optional[watch.Watch] = None  # from the time on when the clocks are locked
        self._steps: Dict[str, KitStep] = {}
        self._logs: Dict[str, str] = {}
        self._layer_files: Dict[str, str] = {}
        self._collected = Collected(
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
        """Runs all steps, or those before Ctrl-C; returns their results."""
        tasks = self._plan.tasks
        try:
            self._sense("before")
            self._do(tasks[0])  # before clocks are locked, so that it describes the board as it was
            with self._clocks():
                self._sense("locked")
                self._watch = watch.Watch(self._plan.root, self._clock)
                for task in tasks[1:]:
                    self._do(task)
            interrupt.over()
        except KeyboardInterrupt:
            self._collected = self._collected._replace(interrupted=True)
            self._end(records.CLOCKS, "", SKIPPED, 0.0, "interrupted")
            for task in tasks:
                self._end(task.kind, task.about, SKIPPED, 0.0, "interrupted")
        self._sense("after")
        self._collected = self._collected._replace(
            steps=tuple(self._steps.values()),
            seconds=self._clock() - self._started_s,
            watched=None if self._watch is None else self._watch.watched,
        )
        return self._collected

    def archive(self) -> Archive:
        """The results without personal data."""
        remover = Remover(self._personal())
        files = {}
        for name, text in self._logs.items():
            files["logs/{}.txt".format(_file_name(remover.text(name)))] = remover.text(text).encode("utf-8")
        for name, path in self._layer_files.items():
            with contextlib.suppress(OSError, ValueError):  # the step reports 0 layers then
                with open(path, encoding="utf-8") as file:
                    layers = json.dumps(remover.everywhere(json.load(file))).encode("ascii")
                if len(layers) <= archive_file.MOST_BYTES:
                    files["layers/{}.json".format(_file_name(remover.text(name)))] = layers
        return Archive(remover.everywhere(self._collected), files)

    def _personal(self) -> Any:
        """The names, addresses, serial numbers and paths of this machine."""
        folders = [(self._plan.folder, "KIT"), (_CHECKOUT, "CHECKOUT"), (sys.prefix, "PYTHON")]
        folders.append((self._plan.root, "ROOT"))
        folders += [(os.path.realpath(path), mark) for path, mark in folders]
        values = [finding.value for finding in self._collected.findings]
        versions = [match.group() for match in map(_VERSION.match, values) if match]
        if self._collected.device is not None:
            versions.append(self._collected.device.engine_version)
        return identifiers.of_this_machine(self._plan.root, dict(os.environ), folders, versions)

    def _sense(self, when: str) -> None:
        """Reads all sensors."""
        began_s = self._clock()
        try:
            self._collected.moments[when] = watch.moment(self._plan.root)
        except Exception as error:  # an unusual /sys must not end the other steps
            reason = "{}: {}".format(type(error).__name__, error)
            self._end(records.SENSORS, when, FAILED, self._clock() - began_s, reason)
            return
        self._end(records.SENSORS, when, DONE, self._clock() - began_s)

    @contextlib.contextmanager
    def _clocks(self) -> Iterator[None]:
        """Locks the clocks, if wanted and possible. Waiting for a password does not count as time."""
        if self._plan.scripts is None:
            self._end(records.CLOCKS, "", SKIPPED, 0.0, "they were to be left alone")
            yield
            return
        began_s = self._clock()
        self._tell(self._progress.show, "locking the clocks; sudo may ask for a password")
        with HeldClocks(self._plan.scripts) as held:
            waited_s = self._clock() - began_s
            self._ends_s += waited_s
            self._logs[records.CLOCKS] = held.output
            self._collected = self._collected._replace(clocks_held=not held.reason)
            self._end(records.CLOCKS, "", FAILED if held.reason else DONE, waited_s, held.reason)
            yield

    def _do(self, task: Task) -> None:
        """Runs a step, unless the step that it needs was not done or the time is too short."""
        left_s = self._ends_s - self._clock()
        required = self._steps.get(task.needs)
        if task.needs and (required is None or required.status != DONE):
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
            with contextlib.suppress(Exception):  # the steps that read the sensors report it
                self._watch.look()

    def _keep(self, kind: str, result: Any) -> None:
        """Adds the result of a step."""
        collected = self._collected
        if kind == records.DOCTOR:
            self._collected = collected._replace(findings=result)
        elif kind == records.BUILD:
            built: BuildResult = result
            self._collected = collected._replace(device=built.device, built=collected.built + built.built)
            self._layer_files.update(built.layer_files)
        elif kind == records.TIME:
            self._collected = collected._replace(timed=collected.timed + result)
        else:
            self._collected = collected._replace(ratios=collected.ratios + result)

    def _end(self, kind: str, about: str, status: str, seconds: float, error: str = "") -> None:
        """Records how a step ended; only the first end of a step counts."""
        step = KitStep(kind, about, status, seconds, error)
        if step.name in self._steps:
            return
        self._steps[step.name] = step
        text = "{:8} {}{}".format(status, step.name, ", {:.0f} s".format(seconds) if status == DONE else ": " + error)
        self._tell(self._progress.message, text)
        self._tell(self._progress.step, step.name)

    def _tell(self, write: Callable[[str], None], text: str) -> None:
        """Reports progress. If the terminal is gone (a lost connection), the run goes on."""
        with contextlib.suppress(OSError):
            write(text)


def _machine(root: str) -> str:
    """Such as 'NVIDIA Jetson TX2, L4T 32.7.6, JetPack 4.6.6, power mode MAXN'; elsewhere the architecture."""
    jetson = identity(root)
    if jetson is None:
        return "no Jetson, {}".format(platform.machine())
    fields = (("L4T", jetson.l4t), ("JetPack", jetson.jetpack), ("power mode", jetson.power_mode))
    return ", ".join([jetson.module] + ["{} {}".format(name, value or "not known") for name, value in fields])


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.")[:100] or "unnamed"
