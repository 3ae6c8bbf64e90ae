"""Does a compile beside other programs report steps that are not there? One quiet compile, then several beside hogs.

usage: scripts/bench contended [--model digits] [--runs 20] [--tokens 196:64:2] [--hogs 2] [--seed 0] [--json]

Every compile is exhaustive and begins with the same graphs and accuracies. Beside each, `--hogs` processes compute for
a third of the time that the quiet one took, beginning at a random moment. For each run:

false steps   steps of more than 5 % of which the quiet curve has less than half
R = 0         full width of its interval, and whether a warning says so where that exceeds 25 %
chosen        its latency over that of the quiet choice, both by the quiet curve, minus 1
unstable      candidates whose verdict is not stable

It also holds the quiet run to 90 % of profiles without a warning.
"""

import argparse
import contextlib
import glob
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

LARGE_DROP = 0.05  # relative: false steps of more count
WIDE = 0.25  # of R = 0's interval
COMPUTING = "import time\nend = time.time() + {}\nwhile time.time() < end: sum(range(10000))"
COUNTS = "196:64:2"


def main(argv):
    """Runs all compiles and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--tokens", default=COUNTS)
    parser.add_argument("--hogs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args(argv)
    rng, lines = random.Random(flags.seed), []
    with tempfile.TemporaryDirectory(prefix="pomt-contended-") as folder:
        exported = os.path.join(folder, "exported")
        _compiled(flags, exported)
        quiet, quiet_s = _compiled(flags, _copied(exported, os.path.join(folder, "quiet")))
        for number in range(flags.runs):
            work = _copied(exported, os.path.join(folder, str(number)))
            with _hogs(flags.hogs, rng.uniform(0, 2 / 3) * quiet_s, quiet_s / 3):
                found, seconds = _compiled(flags, work)
            lines.append(_judged(quiet, found, seconds))
            shutil.rmtree(work)
            print(f"run {number + 1} of {flags.runs}: {_line(lines[-1])}", file=sys.stderr, flush=True)
    stable = sum(row["verdict"] == "stable" for row in quiet["rows"]) / len(quiet["rows"])
    if flags.json:
        print(json.dumps({"quiet_stable": stable, "quiet_s": quiet_s, "runs": lines}))
        return
    print("false steps  R = 0      chosen  unstable  seconds")
    print("\n".join(map(_line, lines)))
    false = sum(bool(line["false_steps"]) for line in lines)
    silent = sum(line["silently_wide"] for line in lines)
    print(f"false steps in {false} of {len(lines)} runs; R = 0 wider than 25 % without a word in {silent}")
    print(f"quiet: {stable:.0%} of the profiles stable, {quiet_s:.0f} s")


def _compiled(flags, work):
    """The selection of an exhaustive compile, and its seconds."""
    command = [sys.executable, "-m", "pomt_trt", "compile", flags.model, "--work", work, "--tokens", flags.tokens]
    began_s = time.monotonic()
    done = subprocess.run([*command, "--search", "exhaustive", "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit("bench contended: {}\n{}".format(" ".join(command), done.stderr))
    return json.loads(done.stdout), time.monotonic() - began_s


def _copied(exported, work):
    """A copy of the work folder without what a run must make itself."""
    return shutil.copytree(exported, work, ignore=_is_measured)


def _is_measured(folder, names):
    """Engines, latencies, the selection and the bundle."""
    made = ("engines", "latency", "selection-*", "bundle-*", "curve-*")
    return {os.path.basename(path) for one in made for path in glob.glob(os.path.join(glob.escape(folder), one))}


@contextlib.contextmanager
def _hogs(count, delay_s, seconds):
    """Processes that compute for so long, from a delay on."""
    command, running = [sys.executable, "-c", COMPUTING.format(seconds)], []
    timer = threading.Timer(delay_s, lambda: running.extend(subprocess.Popen(command) for _ in range(count)))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        for process in running:
            process.kill()
            process.wait()


def _judged(quiet, found, seconds):
    """One run beside hogs, by the curve of the quiet one."""
    ratios = {row["tokens_after"]: row["latency_ms"] / quiet["unreduced"]["latency_ms"] for row in quiet["rows"]}
    before_ms = {row["tokens_after"]: row["latency_ms"] for row in found["rows"]}
    steps = []
    for step in found["steps"]:
        claimed = step["drop_ms"] / before_ms[step["from_tokens"]]
        held = 1 - ratios[step["edge_tokens"]] / ratios[step["from_tokens"]]
        if claimed > LARGE_DROP and held < claimed / 2:
            steps.append([step["edge_tokens"], claimed, held])
    unreduced, chosen = found["unreduced"], found["chosen"]["tokens_after"]
    width = (unreduced["latency_ci_ms"][1] - unreduced["latency_ci_ms"][0]) / unreduced["latency_ms"]
    return {
        "false_steps": steps,
        "unreduced_width": width,
        "silently_wide": width > WIDE and unreduced["verdict"] == "stable",
        "chosen_tokens": chosen,
        "chosen_over_quiet": ratios[chosen] / ratios[quiet["chosen"]["tokens_after"]] - 1,
        "unstable": sum(row["verdict"] != "stable" for row in found["rows"]),
        "seconds": seconds,
    }


def _line(line):
    parts = [f"{edge} (-{drop:.0%}, quiet {-held:+.0%})" for edge, drop, held in line["false_steps"]]
    return "{:11s}  {:5.1%}  {:4d} {:+.1%}  {:8d}  {:7.0f}".format(
        ", ".join(parts) or "none",
        line["unreduced_width"],
        line["chosen_tokens"],
        line["chosen_over_quiet"],
        line["unstable"],
        line["seconds"],
    )
