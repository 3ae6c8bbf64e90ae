"""The steps of a field kit as commands in their order, and how to read their output."""

import json
import os
import re
import sys
from typing import Any, Callable, List, NamedTuple, Tuple

from pomt_trt.core.field_kit import records
from pomt_trt.core.field_kit.records import BuildResult, Kit, Ratio, Timed
from pomt_trt.core.records import Finding
from pomt_trt.core.storage import store
from pomt_trt.device.field_kit.process import Ended

# A step with less time left is skipped: it would be killed before it has a result.
LEAST_S = {records.DOCTOR: 5.0, records.BUILD: 20.0, records.TIME: 20.0, records.TRTEXEC: 30.0}
MOST_REASON = 400  # characters of a failure
PREFIX = "pomt-trt: "  # of messages of commands and scripts
_RATIO = re.compile(r"^(\S+) r000: pomt-trt ([\d.]+) ms, trtexec ([\d.]+) ms, ratio", re.MULTILINE)


class Task(NamedTuple):
    """One step."""

    kind: str
    about: str
    command: List[str]
    result: Callable[[Ended], Any]  # reads the output; raises ValueError if it failed
    needs: str = ""  # name of a step that must be done before

    @property
    def name(self) -> str:
        """As that of records.Step."""
        return " ".join([self.kind, self.about]).strip()


def tasks(kit: Kit, folder: str, root: str, scripts: str, max_s: float) -> List[Task]:
    """All steps: doctor first, then model after model.

    Args:
        folder: of the kit.
        root: folder with /proc, /sys and /etc.
        scripts: folder of compare_trtexec.
        max_s: time limit for each way to run an engine.
    """
    program = [sys.executable, "-m", "pomt_trt.device.field_kit.steps"]
    steps = [Task(records.DOCTOR, "", program + ["doctor", "--root", root], _json_of(Tuple[Finding, ...]))]
    for model in kit.models:
        work = os.path.join(folder, model)
        for precision in records.PRECISIONS:
            about = "{} {}".format(model, precision)
            flags = [work, precision, "--max-seconds", str(max_s)]
            build = Task(records.BUILD, about, program + ["build"] + flags, _json_of(BuildResult))
            timed = _json_of(Tuple[Timed, ...])
            steps += [build, Task(records.TIME, about, program + ["time"] + flags, timed, build.name)]
        compare = [os.path.join(scripts, "compare_trtexec"), work]
        steps.append(Task(records.TRTEXEC, model, compare, _ratios_of(model)))
    return steps


def _json_of(kind: Any) -> Callable[[Ended], Any]:
    """Reads the records in the last line of the output. Other libraries may print before it."""

    def result(ended: Ended) -> Any:
        if ended.code != 0:
            raise ValueError(_failure(ended))
        return store.from_json(kind, json.loads(ended.out.strip().split("\n")[-1]))

    return result


def _ratios_of(model: str) -> Callable[[Ended], Tuple[Ratio, ...]]:
    """Reads the lines of compare_trtexec. Its exit code is ignored: the report judges whether the times agree."""

    def result(ended: Ended) -> Tuple[Ratio, ...]:
        rows = _RATIO.findall(ended.out)
        if not rows:
            raise ValueError(_failure(ended))
        return tuple(Ratio(model, device_id, float(ours), float(theirs)) for device_id, ours, theirs in rows)

    return result


def _failure(ended: Ended) -> str:
    """Why a step failed: its last message, which begins with PREFIX, or else its last line."""
    lines = [line.strip() for line in ended.err.splitlines() if line.strip()]
    starts = [number for number, line in enumerate(lines) if line.startswith(PREFIX)]
    reason = " ".join(lines[starts[-1] if starts else -1 :])[:MOST_REASON] or "without a message"
    reason = reason[len(PREFIX) :] if starts else reason
    return reason if ended.code > 0 and lines else "it ended with exit code {}: {}".format(ended.code, reason)
