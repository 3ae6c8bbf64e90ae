"""Predicted against measured latency of schedules over many blocks: what --schedule search relies on.

usage: scripts/bench schedule [--model deit_tiny_patch16_224] [--method pomt] [--schedules 20] [--threads 2] [--json]

Times the blocks of a model as `pomt-trt compile --schedule search` does (block probes, core/schedules/block_costs.py),
then draws schedules: up to as many cuts as there are blocks, anywhere, down to a quarter of the tokens. Each is
predicted, built and timed. All engines take turns with the unreduced one, the reference of all groups.

predicted  the sum over its blocks
measured   with 95 % interval and the profile's verdict; a busy machine's are called contended
error      predicted / measured - 1
holds      every schedule within 5 %

Weights are random: they do not change the time. Needs the workstation (torch, timm) and a quiet machine.
"""

import argparse
import datetime
import json
import random
import statistics
import sys
import tempfile

from pomt_trt.core import errors
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Schedule
from pomt_trt.core.schedules import block_costs
from pomt_trt.core.storage.workfolder import WorkFolder
from pomt_trt.device.board import board
from pomt_trt.device.engines import registry
from pomt_trt.device.timing import profiling
from pomt_trt.pipeline import options
from pomt_trt.pipeline.export import export_graphs, workstation_for
from pomt_trt.pipeline.search import block_latency, schedules

BOUND = 0.05
IMAGES = 4  # accuracy is not what this is about


def exported(flags, work):
    """(session of R = 0 and the deepest cut, workstation)."""
    layer = None if flags.method == "topk" else 3
    chosen = options.make(
        flags.model, work, method=flags.method, layer=layer, samples=IMAGES, threads=flags.threads,
        max_seconds=flags.max_seconds,
    )  # fmt: skip
    workstation = workstation_for(chosen)
    tokens = workstation.load()[1].tokens
    chosen = chosen._replace(tokens="{0}:{0}:1".format(max(tokens // 4, 4)))
    session = export_graphs(WorkFolder(work), chosen, workstation)
    return session.on(board.device_spec(registry.chosen("auto")), chosen.settings), workstation


def drawn(counts, depth, prefix_tokens, number, seed):
    """Schedules with one cut to one in every block, on the counts at which blocks are timed in any case."""
    generator, tried = random.Random(seed), {}
    for attempt in range(100 * number):  # few counts have few schedules
        if len(tried) == number:
            break
        cuts = 1 + attempt % min(depth, len(counts) - 1)
        at = sorted(generator.sample(range(depth), cuts))
        left = sorted(generator.sample(counts[1:], cuts), reverse=True)
        steps = [counts[0], *left]
        tokens = (counts[0], *(steps[sum(b <= block for b in at)] for block in range(depth)))
        tried[tokens] = Schedule(tokens, prefix_tokens)
    return list(tried.values())


def measured(flags, work):
    """A line for each schedule, and the table of blocks."""
    session, workstation = exported(flags, work)
    spec = session.experiment.model
    with Progress("profile", len(session.candidates)) as progress:
        profiling.profile(session.engines, session.candidates, progress)
    lowest = min(candidate.schedule.tokens_after for candidate in session.candidates)
    table = block_latency.measure(session, workstation, lowest)
    counts = block_costs.first_counts(spec.tokens, lowest)
    tried = drawn(counts, spec.depth, spec.prefix_tokens, flags.schedules, flags.seed)
    schedules.add(session, tried, workstation)
    with Progress("profile", len(session.candidates)) as progress:
        profiling.profile(session.engines, session.candidates, progress)
    rows = [row for row in session.rows() if row.latency_ms is not None and row.schedule]
    predicted_ms = [block_costs.predicted_ms(session.candidate(row.id).schedule, table) for row in rows]
    return [line(row, ms) for row, ms in zip(rows, predicted_ms)], table, session.device


def line(row, predicted_ms):
    """One schedule's numbers."""
    return {
        "id": row.id,
        "tokens": row.schedule,
        "cuts": sum(before != after for before, after in zip(row.schedule, row.schedule[1:])),
        "predicted_ms": predicted_ms,
        "measured_ms": row.latency_ms,
        "measured_ci_ms": row.latency_ci_ms,
        "error": predicted_ms / row.latency_ms - 1,
        "verdict": row.verdict,
    }


def shown(lines, table, device, flags):
    """The table for people."""
    worst = max(abs(one["error"]) for one in lines)
    middle = statistics.median(abs(one["error"]) for one in lines)
    how = f"batch 1, fp32, {flags.threads} threads, --max-seconds {flags.max_seconds:g}"
    where = f"{device.processor}, {device.cores} cores; {device.engine} {device.engine_version}"
    text = [
        f"{flags.model}, {flags.method}, {how}. {where}; {datetime.date.today().isoformat()}.",
        "Blocks timed at {} counts; a cut costs {}.".format(
            len(table.plain),
            ", ".join(f"{one.ms:.4f} ms at {one.tokens:.0f} tokens" for one in table.reducing),
        ),
        "",
        "schedule  cuts  predicted ms  measured ms  95 % interval      error  verdict    tokens by block",
    ]
    for one in lines:
        text.append("{:8s}  {:4d}  {:12.3f}  {:11.3f}  {:.3f} .. {:.3f}  {:+6.1%}  {:9s}  {}".format(
            one["id"], one["cuts"], one["predicted_ms"], one["measured_ms"], *one["measured_ci_ms"], one["error"],
            one["verdict"], " ".join(map(str, one["tokens"]))))  # fmt: skip
    summary = "{} schedules: error {:.1%} in the median, {:.1%} at most; holds: {}"
    text.append(summary.format(len(lines), middle, worst, "yes" if worst <= BOUND else "no"))
    return "\n".join(text)


def main(argv):
    """Runs it; exit code 0 whatever the numbers are: it measures, tests judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="deit_tiny_patch16_224")
    parser.add_argument("--method", default="pomt", choices=["pomt", "topk", "tome"])
    parser.add_argument("--schedules", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-seconds", type=float, default=2.0, help="timing of one engine (%(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", help="folder for all of it, kept; a rerun goes on from it (a temporary one, removed)")
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="pomt-schedule-") as temporary:
            lines, table, device = measured(flags, flags.work or temporary)
    except errors.PomtError as error:
        sys.exit(f"bench schedule: {error}")
    print(json.dumps(lines) if flags.json else shown(lines, table, device, flags))
