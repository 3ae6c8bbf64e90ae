"""The steps of a field kit's run that are processes: their commands, their order, and what their output says.

Makes Tasks from a kit, on any machine. Leaves out running them (device/field_kit/process) and what is kept of them
(device/field_kit/collector).
"""

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

# A step that has less time than this is not begun: it would be killed before it has anything to tell.
LEAST_S = {records.DOCTOR: 5.0, records.BUILD: 20.0, records.TIME: 20.0, records.TRTEXEC: 30.0}
MOST_SAID = 400  # characters
PREFIX = "pomt-trt: "  # of messages of commands and scripts
_RATIO = re.compile(r"^(\S+) r000: pomt-trt ([\d.]+) ms, trtexec ([\d.]+) ms, ratio", re.MULTILINE)


class Task(NamedTuple):
    """One step."""

    kind: str
    about: str
    command: List[str]
    result: Callable[[Ended], Any]  # raises ValueError where its output is not what it should be
    needs: str = ""  # kind and about of a step without which this one has nothing to work on

    @property
    def name(self) -> str:
        """As field.Step's."""
        return " ".join([self.kind, self.about]).strip()


def tasks(kit: Kit, folder: str, root: str, scripts: str, max_s: float) -> List[Task]:
    """All steps, doctor first; each model is done with before the next, the quick one first.

    Args:
        folder: the kit's.
        root: where /proc, /sys and /etc are found.
        scripts: where jetson/compare_trtexec lies.
        max_s: of timing, for each way to run an engine.
    """
    ours = [sys.executable, "-m", "pomt_trt.device.field_kit.steps"]
    found = [Task(records.DOCTOR, "", ours + ["doctor", "--root", root], _json_of(Tuple[Finding, ...]))]
    for model in kit.models:
        work = os.path.join(folder, model)
        for precision in records.PRECISIONS:
            about = "{} {}".format(model, precision)
            asked = [work, precision, "--max-seconds", str(max_s)]
            built = Task(records.BUILD, about, ours + ["build"] + asked, _json_of(BuildResult))
            found += [
                built,
                Task(records.TIME, about, ours + ["time"] + asked, _json_of(Tuple[Timed, ...]), built.name),
            ]
        compare = [os.path.join(scripts, "compare_trtexec"), work]
        found.append(Task(records.TRTEXEC, model, compare, _ratios_of(model)))
    return found


def _json_of(kind: Any) -> Callable[[Ended], Any]:
    """The records in the last line of a step's output; other libraries may print before it."""

    def result(ended: Ended) -> Any:
        if ended.code != 0:
            raise ValueError(_said(ended))
        return store.from_json(kind, json.loads(ended.out.strip().split("\n")[-1]))

    return result


def _ratios_of(model: str) -> Callable[[Ended], Tuple[Ratio, ...]]:
    """compare_trtexec's lines; its exit code also says whether the times agree, which is not for the board to judge."""

    def result(ended: Ended) -> Tuple[Ratio, ...]:
        told = _RATIO.findall(ended.out)
        if not told:
            raise ValueError(_said(ended))
        return tuple(Ratio(model, device_id, float(ours), float(theirs)) for device_id, ours, theirs in told)

    return result


def _said(ended: Ended) -> str:
    """Why a step failed, by the end of its own words: its last message, or else its last line."""
    lines = [line.strip() for line in ended.err.splitlines() if line.strip()]
    begins = [number for number, line in enumerate(lines) if line.startswith(PREFIX)]
    said = " ".join(lines[begins[-1] if begins else -1 :])[:MOST_SAID] or "without a word"
    said = said[len(PREFIX) :] if begins else said
    return said if ended.code > 0 and lines else "it ended with exit code {}: {}".format(ended.code, said)
