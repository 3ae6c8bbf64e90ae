"""How well a repeated compile agrees with itself, undisturbed and beside a process that hogs one core.

usage: scripts/bench repeat [--model digits] [--runs 10] [--tokens 196:96:20] [--json]

Compiles the model anew `--runs` times; beside every second run a Python loop keeps one core busy. For each candidate:

quiet spread   largest over smallest latency of the undisturbed runs, minus 1; same of latency over that of R = 0
hogged off     largest distance of a hogged run that does not call itself contended from the undisturbed median
told           hogged runs whose profile says that something disturbed it
holds          quiet spread within 3 %; every hogged run within 5 %, or called contended
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile

QUIET_SPREAD, HOGGED_OFF = 0.03, 0.05


@contextlib.contextmanager
def hog(wanted):
    """A process that computes for as long as the block lasts."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def compiled(model, tokens, samples):
    """{candidate id: (latency_ms, verdict)} of one compile in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="pomt-repeat-") as work:
        command = [sys.executable, "-m", "pomt_trt", "compile", model, "--work", work, "--tokens", tokens, "--json"]
        command += ["--samples", str(samples)] if samples else []
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit("bench repeat: {}\n{}".format(" ".join(command), done.stderr))
    rows = json.loads(done.stdout)["rows"]
    return {row["id"]: (row["latency_ms"], row["verdict"]) for row in rows}


def judged(name, quiet, hogged):
    """One candidate's line: numbers and whether they hold."""
    latencies = [run[name][0] for run in quiet]
    ratios = [run[name][0] / run["r000"][0] for run in quiet]
    middle = statistics.median(latencies)
    silent = [abs(run[name][0] / middle - 1) for run in hogged if run[name][1] not in ("contended", "throttled")]
    spread = max(latencies) / min(latencies) - 1
    return {
        "id": name,
        "median_ms": middle,
        "quiet_spread": spread,
        "quiet_spread_of_ratio": max(ratios) / min(ratios) - 1,
        "quiet_verdicts": [run[name][1] for run in quiet],
        "hogged_off": max(silent, default=0.0),
        "hogged_over_quiet": [run[name][0] / middle for run in hogged],
        "told": sum(run[name][1] in ("contended", "throttled") for run in hogged),
        "holds": spread <= QUIET_SPREAD and max(silent, default=0.0) <= HOGGED_OFF,
    }


def main(argv):
    """Runs all compiles and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--tokens", default="196:96:20")
    parser.add_argument("--samples", type=int, help="images for the accuracy, which is not what this is about")
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args(argv)
    runs = {False: [], True: []}
    for number in range(flags.runs):
        hogged = number % 2 == 1
        with hog(hogged):
            runs[hogged].append(compiled(flags.model, flags.tokens, flags.samples))
        print(f"run {number + 1} of {flags.runs}", file=sys.stderr, flush=True)
    lines = [judged(name, runs[False], runs[True]) for name in runs[False][0]]
    if flags.json:
        print(json.dumps(lines))
        return
    print("candidate  median ms  quiet spread  of ratio to R = 0  hogged off  told  holds  quiet verdicts")
    for line in lines:
        verdicts = ", ".join("{} {}".format(line["quiet_verdicts"].count(v), v) for v in set(line["quiet_verdicts"]))
        spreads = "{quiet_spread:12.1%}  {quiet_spread_of_ratio:17.1%}  {hogged_off:10.1%}".format(**line)
        told = "{}/{}".format(line["told"], len(runs[True]))
        holds = "yes" if line["holds"] else "no"
        print("{id:9s}  {median_ms:9.3f}".format(**line), spreads, f"{told:>4s}", f"{holds:5s}", verdicts, sep="  ")
