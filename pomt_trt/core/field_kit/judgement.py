"""The report on a run of the field kit: which properties held on the board, line by line.

Boards differ: a property that could not be observed is neither held nor not held, but unknown.
"""

from typing import Iterator, NamedTuple, Tuple

from pomt_trt.core.errors import VerificationFailed
from pomt_trt.core.field_kit import board, engines
from pomt_trt.core.field_kit.records import CLOCKS, DONE, HELD, NOT, UNKNOWN, Collected, Line

MOST_SHOWN = 400  # characters of a text from an untrusted archive


class Report(NamedTuple):
    """The report on one run."""

    title: str
    lines: Tuple[Line, ...]


def judge(run: Collected) -> Report:
    """The report on a run."""
    lines = [*board.lines(run), *engines.lines(run), *_steps(run)]
    return Report(_title(run), tuple(lines))


def text(report: Report) -> str:
    """The report for people: a title, one line a property, and the counts."""
    lines = ["{:4}  {}: {}".format(line.state, _shown(line.what), _shown(line.found)) for line in report.lines]
    counts = [sum(line.state == state for line in report.lines) for state in (HELD, NOT, UNKNOWN)]
    title = [_shown(part) for part in report.title.split("\n")]
    return "\n".join([*title, "", *lines, "", "{} held, {} did not, {} are not known.".format(*counts)])


def require(report: Report) -> None:
    """Raises VerificationFailed where something did not hold."""
    failed = [line for line in report.lines if line.state == NOT]
    if failed:
        first = "{}: {}".format(failed[0].what, failed[0].found)
        raise VerificationFailed(
            "{} of {} things did not hold on that board, the first being '{}'. What each step said is in the archive's "
            "logs.".format(len(failed), len(report.lines), _shown(first))
        )


def _title(run: Collected) -> str:
    engine = "no engine library"
    if run.device is not None:
        engine = "{} {} on {}".format(run.device.engine, run.device.engine_version, run.device.processor)
    return "{}\n{}; pomt-trt {}, kit for {}, {}, {:.1f} of {:g} minutes{}".format(
        run.machine,
        engine,
        run.version,
        run.kit.target,
        run.date,
        run.seconds / 60,
        run.minutes,
        ", interrupted" if run.interrupted else "",
    )


def _steps(run: Collected) -> Iterator[Line]:
    """Whether every step ran. A failed step is listed here by its name, besides the lines above."""
    missing = [step for step in run.steps if step.status != DONE and step.kind != CLOCKS]
    if not missing:
        yield Line(HELD, "every step of the kit ran", "{} steps".format(len(run.steps)))
    for step in missing:
        yield Line(NOT, "step '{}' ran".format(step.name), "{}: {}".format(step.status, step.error))


def _shown(text: str) -> str:
    """A text from an archive without control characters, which could act on a terminal."""
    return "".join(one if one.isprintable() else "?" for one in text[:MOST_SHOWN])
