"""Does the suite notice mistakes? Plants 30 of them, one at a time, in a copy of the checkout: python -m tests.mutants

For each, tests run from the nearest to the rest of the default suite, until one fails. Prints a row a mutant. Exit code
1 where one survives. Numbers as arguments choose some: python -m tests.mutants 3 17
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional

ROOT = Path(__file__).resolve().parent.parent
FROZEN = "tests/frozen/test_behaviour.py"  # every number of the statistics, every selection
NOT_COPIED = shutil.ignore_patterns("__pycache__", ".venv*", ".*_cache")


class Mutant(NamedTuple):
    """A line of pomt_trt, without its indentation, and what stands there instead."""

    module: str
    line: str
    instead: str


MUTANTS = [
    # timing
    Mutant("device/timing/turns/sampler", "return [*members[by:], *members[:by]]", "return list(members)"),
    Mutant(
        "core/statistics/across_groups",
        "squares = np.maximum(common, squares)",
        "squares = np.full(len(squares), common)",
    ),
    Mutant(
        "device/timing/turns/engine_group",
        "self.cpu_ms.append((self._clocks.cpu() - cpu_s) / runs * 1e3)",
        "self.cpu_ms.append((self._clocks.cpu() - cpu_s) * 1e3)",
    ),
    Mutant(
        "device/timing/turns/engine_group",
        "early_s = began_s + number * interval_s - self._clocks.wall()",
        "early_s = interval_s",
    ),
    Mutant(
        "device/timing/turns/sampler",
        "spent_s[disturbed[-1]][name] += round_s if sampling.together else burst_s",
        "spent_s[disturbed[-1]][name] += round_s",
    ),
    # statistics
    Mutant("core/statistics/stats", "tail = 50 * (1 - COVERAGE)", "tail = 100 * (1 - COVERAGE)"),
    Mutant("core/statistics/stats", "return max(1, int(round(rounds ** (1 / 3))))", "return 1"),
    Mutant("core/statistics/stats", "return width <= self.narrow or self._noise_settled(rounds)", "return True"),
    Mutant(
        "core/statistics/drift",
        "drift = np.exp(smooth - np.percentile(smooth, 100 * FAST_QUANTILE))",
        "drift = np.exp(smooth - smooth.min())",
    ),
    Mutant("core/statistics/within_group", "logs = logs - used.level[used.rows[name]]", "logs = np.asarray(logs)"),
    # selection
    Mutant("core/choice/rules", "limit = problem.loss_per_gain_ci(best)[1]", "limit = problem.loss_per_gain(best)"),
    Mutant(
        "core/choice/rules",
        "winner = min(allowed, key=lambda e: (e.latency_ms, -e.tokens))",
        "winner = min(allowed, key=lambda e: (e.latency_ms, e.tokens))",
    ),
    Mutant(
        "core/choice/rules",
        "if latency is not None and entry.latency_ms > latency:",
        "if latency is not None and entry.latency_ms >= latency:",
    ),
    Mutant("core/choice/selection", "if entry.accuracy > best:", "if entry.accuracy >= best:"),
    Mutant(
        "core/choice/selection",
        "if max_accuracy_drop is not None and interval is not None and interval[1] > max_accuracy_drop:",
        "if max_accuracy_drop is not None and interval is not None and interval[0] > max_accuracy_drop:",
    ),
    # export
    Mutant("host/graphs/comparison", "clear = margins > parity.LEAST_MARGIN[written]", "clear = margins > 0"),
    Mutant(
        "host/graphs/export",
        "chosen = graph_sets.telling(np.array([_counts(plan, schedule) for schedule in own]))",
        "chosen = [0, len(own) - 1]",
    ),
    Mutant(
        "host/graphs/graph_set",
        "return min(fitting, key=lambda slot: abs(slot.slope))",
        "return max(fitting, key=lambda slot: abs(slot.slope))",
    ),
    Mutant("host/graphs/graph_set", "if tensor.data_type == TensorProto.INT64:", "if True:"),
    Mutant("host/graphs/graph_set", "data.extend(bytes(-len(data) % ALIGNMENT_BYTES))", "pass"),
    # reducers
    Mutant("host/reducers/common/ranking", "return (last - first) / last.abs()", "return last - first"),
    Mutant(
        "host/reducers/pomt",
        "return received / received.amax(1, keepdim=True) + strength",
        "return received / received.amax() + strength",
    ),
    Mutant(
        "host/reducers/topk",
        "x = join(x[:, :prefix], gather_rows(x, best + prefix))  # (B, prefix + kept, C)",
        "x = join(x[:, :prefix], gather_rows(x, best))",
    ),
    Mutant(
        "host/reducers/common/matching",
        "joining = gather_rows(size_even, match.merged)  # (B, r, 1)",
        "joining = gather_rows(size_even, match.merged) * 0 + 1",
    ),
    Mutant(
        "host/reducers/cropr",
        "score = tokens.x[:, self.step.prefix_tokens :] @ self.scorer  # (B, n)",
        "score = -(tokens.x[:, self.step.prefix_tokens :] @ self.scorer)",
    ),
    # store
    Mutant("core/storage/store", "os.fsync(file.fileno())", "pass"),
    Mutant("core/storage/store", "return stored.record if stored.inputs == inputs else None", "return stored.record"),
    Mutant("core/storage/store", "if type(schema) is int and schema > newest:", "if False:"),
    Mutant("core/storage/bundle", 'if _signed(body["bundle"]) != data:', "if False:"),
    Mutant(
        "core/storage/bundle",
        "put = store.copy if os.path.basename(target) == WEIGHTS else store.hard_link",
        "put = store.hard_link",
    ),
]


def planted(path: Path, mutant: Mutant) -> str:
    """The module's text with the mistake in it. Raises: SystemExit where the line is not there exactly once."""
    text = path.read_text() if path.exists() else ""
    pattern = re.compile(r"^( *){}$".format(re.escape(mutant.line)), flags=re.M)
    if len(pattern.findall(text)) != 1:
        message = "pomt_trt/{}.py has this line {} times, not once: {}\nWrite the mutant of today's line."
        raise SystemExit(message.format(mutant.module, len(pattern.findall(text)), mutant.line))
    return pattern.sub(lambda match: match.group(1) + mutant.instead, text)


def module_in(checkout: Path, mutant: Mutant) -> Path:
    """Path of a mutant's module."""
    return checkout / "pomt_trt" / (mutant.module + ".py")


def importing(module: str) -> List[str]:
    """Test files that import a module of pomt_trt, or else its package."""
    package, _, name = "pomt_trt.{}".format(module.replace("/", ".")).rpartition(".")
    pattern = re.compile(r"{0}\.{1}\b|from {0} import .*\b{1}\b".format(re.escape(package), name))
    files = [path for path in sorted(ROOT.glob("tests/**/test_*.py")) if pattern.search(path.read_text())]
    if not files and "/" in module:
        return importing(os.path.dirname(module))
    return [str(path.relative_to(ROOT)) for path in files]


def runs(module: str) -> List[List[str]]:
    """Arguments of pytest, nearest first: the module's file and folder, recorded behaviour, importers, the rest."""
    folder, name = os.path.split(module)
    mirrors = ["tests/{}/test_{}.py".format(folder, name), "tests/" + folder]
    nearest = [*(path for path in mirrors if (ROOT / path).exists()), FROZEN]
    rest = ["-n", "2", *("--ignore=" + path for path in [*nearest, *importing(module)])]
    return [*([path] for path in nearest), importing(module), rest]


def failed_test(folder: Path, arguments: List[str]) -> Optional[str]:
    """The first test of a run that fails; None where all pass."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments]
    environment = dict(os.environ, PYTHONPATH=str(folder), OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "universal_newlines": True}
    done = subprocess.run(command, cwd=str(folder), env=environment, **pipes)
    if done.returncode in (0, 5):  # 5: none of these files holds a test
        return None
    if done.returncode > 2:  # 1: a test failed; 2: a file cannot be imported; others are no word on the mutant
        raise SystemExit(done.stdout)
    named = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, flags=re.M)
    return named.group(1) if named else done.stdout.strip().splitlines()[-1]


def killer(folder: Path, mutant: Mutant) -> Optional[str]:
    """The test that fails on a mutant; None where it survives."""
    path = module_in(folder, mutant)
    text = path.read_text()
    path.write_text(planted(path, mutant))
    by = next(filter(None, (failed_test(folder, run) for run in runs(mutant.module) if run)), None)
    path.write_text(text)
    if by and failed_test(folder, [by.split("[")[0]]):
        raise SystemExit("{} fails without a mistake too. Mend it first.".format(by))
    return by


def report(chosen: List[int]) -> Iterator[int]:
    """Prints a row for each chosen mutant; yields the numbers of those that survive."""
    for number in chosen:  # before any of them runs
        planted(module_in(ROOT, MUTANTS[number]), MUTANTS[number])
    with tempfile.TemporaryDirectory(prefix="pomt-trt-mutants-") as name:
        folder = Path(name) / "checkout"
        shutil.copytree(str(ROOT), str(folder), symlinks=True, ignore=NOT_COPIED)
        for number in chosen:
            began = time.monotonic()
            by = killer(folder, MUTANTS[number])
            row = "{:3}  {:32} {:5.0f} s  {}"
            print(row.format(number, MUTANTS[number].module, time.monotonic() - began, by or "SURVIVES"), flush=True)
            if by is None:
                yield number


if __name__ == "__main__":
    survivors = list(report([int(word) for word in sys.argv[1:]] or list(range(len(MUTANTS)))))
    print("{} survive".format(len(survivors)))
    sys.exit(bool(survivors))
