"""What a change of the code's structure must not change, computed anew: `python -m tests.frozen.behaviour` records it.

Each function returns one thing as plain JSON: the flags of every command, estimates from recorded rounds, selections
from a recorded curve, and the shape of each command's JSON. tests/frozen/test_behaviour compares them with the files in
tests/data/frozen. Record again only where a change of behaviour is meant, and say so in the commit.
"""

import argparse
import gzip
import json
import os
import tempfile
from unittest import mock

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "frozen")
RULES = ("step", "utility", "fastest-within")


def flags():
    """command -> flag -> default, choices, type and number of values. Help texts are free to change."""
    from pomt_trt import cli, infer

    action = next(a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    parsers = dict(action.choices, **{"python -m pomt_trt.infer": _parser_of(infer.main)})
    return {name: dict(map(_flag, parser._actions)) for name, parser in sorted(parsers.items())}


def _parser_of(main):
    """The parser that a main function makes for itself."""
    made = []
    with mock.patch.object(argparse.ArgumentParser, "parse_args", lambda self, *_: made.append(self) or 1 / 0):
        try:
            main(["bundle", "image"])
        except ZeroDivisionError:
            return made[0]
    raise AssertionError(f"{main} parses no arguments")


def _flag(action):
    about = {
        "default": repr(action.default),
        "choices": sorted(map(str, action.choices)) if action.choices else None,
        "type": getattr(action.type, "__name__", None),
        "nargs": action.nargs,
        "kind": type(action).__name__,
    }
    return " ".join(action.option_strings) or action.dest, about


def rounds():
    """candidate -> rounds -> milliseconds: 60 rounds of five engines of `digits` (2026-11-28, Intel Xeon 6).

    A phase in which the machine is a tenth slower is planted in rounds 20 to 39, so that there is drift to take out.
    """
    with gzip.open(os.path.join(FOLDER, "rounds.json.gz")) as file:
        recorded = json.loads(file.read().decode())
    slow = range(20, 40)
    return {
        name: [[sample * (1.1 if number in slow else 1.0) for sample in row] for number, row in enumerate(rows)]
        for name, rows in recorded.items()
    }


def estimates():
    """Every number that the statistics make of the recorded rounds."""
    from pomt_trt.core.statistics import stats
    from pomt_trt.core.statistics.drift import slow_drift

    recorded = rounds()
    factors = slow_drift(list(recorded.values()))
    found = {"drift": list(factors), "stops": {}, "engines": {}}
    for name, rows in recorded.items():
        here = stats.locate(rows, factors)
        found["engines"][name] = {
            "located": list(here),
            "quickly": list(stats.locate(rows, factors, resamples=stats.QUICK_RESAMPLES)),
            "without drift": list(stats.locate(rows)),
            "percentiles": list(stats.percentiles(rows)),
            "noise": stats.core_noise(rows),
        }
        rule = stats.StoppingRule(max_s=1.0)
        reasons = [rule.decide(rows[:n], lambda n=n, rows=rows: stats.locate(rows[:n]), n / 50) for n in range(1, 61)]
        found["stops"][name] = reasons
    return found


def profiles():
    """The latency profiles of a group of which one is known, and a ratio of two processes that took turns."""
    from pomt_trt.core.storage.store import to_json
    from pomt_trt.device.timing.turns import child_turns, engine_group
    from tests import fakes

    recorded = rounds()
    members = [_member(name, rows) for name, rows in recorded.items()]
    seen = {"steal": 0.0, "others": 0.01, "involuntary_per_s": 40.0}
    modes = engine_group.Modes(2, "default", 0.75)
    found, clean = engine_group.located(members, {members[0].name: fakes.known(members[0].name, 3.2)}, [])
    made = []
    for member in members[1:]:
        taken = engine_group.profile(member, _engine(member, fakes), modes, found[member.name], "settled")
        made.append(to_json(engine_group.judged(taken, seen, clean)))
    timings = [_timing(name, recorded[name]) for name in ("r000", "r053")]
    return {"group": made, "ratio": to_json(child_turns.ratio(*timings))}


def _member(name, rows):
    from pomt_trt.device.timing.turns import engine_group

    member = engine_group.EngineMember(name, lambda: None, engine_group.Clocks())
    member.rounds_ms.extend(rows)
    member.cpu_ms.extend([5.0] * len(rows))
    return member


def _engine(member, fakes):
    return fakes.made_up_engine()._replace(candidate_id=member.name)


def _timing(name, rows):
    from pomt_trt.core.statistics import stats
    from pomt_trt.core.statistics.drift import slow_drift
    from pomt_trt.device.timing.turns import child_turns

    found = stats.locate(rows, slow_drift([rows]))
    kept = tuple(map(tuple, rows))
    return child_turns.Timing(name, found.value, (found.low, found.high), 0.0, 0.0, 0.0, kept, "settled", "", {})


def selections():
    """rule -> the whole selection, exhaustive and adaptive, from the recorded curve of `digits`."""
    from pomt_trt.core.choice.rules import Goal
    from pomt_trt.core.search.curve import read_curve
    from pomt_trt.core.search.replay import replay
    from pomt_trt.core.storage.store import to_json

    curve = read_curve(os.path.join(os.path.dirname(FOLDER), "curves", "digits.json.gz"))
    found = {}
    for rule in RULES:
        result = replay(curve, Goal(rule=rule))
        found[rule] = {
            "builds": result.builds,
            "exhaustive": to_json(result.exhaustive),
            "adaptive": to_json(result.selection),
            "reason": result.done.reason,
        }
    return found


def json_shapes():
    """command -> what its --json prints, with a type's name in the place of each value."""
    from tests import compiled

    with tempfile.TemporaryDirectory() as folder:
        work = compiled.copied(folder)
        bundle, picture = compiled.one(work, "bundle-"), os.path.join(compiled.source(), "data", "0", "0.png")
        data, curve = os.path.join(compiled.source(), "data"), os.path.join(FOLDER, "..", "curves", "digits.json.gz")
        commands = {
            "compile": compiled.compile_command(work),
            "export": ["export", *compiled.experiment(), *compiled.TOKENS, "--work", work],
            "accuracy": ["accuracy", work],
            "build": ["build", work, "--threads", "1"],
            "profile": ["profile", work, *compiled.TIMING],
            "select": ["select", work, *compiled.TIMING],
            "replay": ["replay", curve],
            "evaluate": ["evaluate", bundle, data],
            "bench": ["bench", bundle, "--threads", "1", "--max-seconds", "0.2", "--against", "none"],
            "verify": ["verify", bundle],
            "doctor": ["doctor"],
        }
        found = {}
        for name, command in commands.items():
            code, out, err = compiled.called(*command, "--json")
            assert code == 0, (name, code, err)
            found[name] = shape(json.loads(out))
        found["doctor"] = sorted(found["doctor"])  # the rest depends on the machine
        found["infer"] = _of_infer(bundle, picture)
    return found


def _of_infer(bundle, picture):
    from tests import compiled

    process = compiled.subprocess.run(
        [compiled.sys.executable, "-m", "pomt_trt.infer", bundle, picture, "--json"],
        cwd=compiled.ROOT, stdout=compiled.subprocess.PIPE, check=True,
    )  # fmt: skip
    return shape(json.loads(process.stdout.decode().splitlines()[0]))


def shape(value):
    """A value with its leaves replaced by their kinds; lists by the shape of their first entry."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, bool) or value is None:
        return str(value) if value is None else "bool"
    return "number" if isinstance(value, (int, float)) else type(value).__name__


RECORDED = {f.__name__: f for f in (flags, estimates, profiles, selections, json_shapes)}


def path(name):
    """Where one recording lies."""
    return os.path.join(FOLDER, name + ".json.gz")


def read(name):
    """One recording."""
    with gzip.open(path(name)) as file:
        return json.loads(file.read().decode())


def record(name):
    """Writes one anew; equal behaviour gives equal bytes."""
    with open(path(name), "wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
        packed.write(json.dumps(RECORDED[name](), indent=1, sort_keys=True).encode())


if __name__ == "__main__":
    for each in RECORDED:
        record(each)
        print(path(each), os.path.getsize(path(each)))
