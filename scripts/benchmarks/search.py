"""How the adaptive search does on generated curves, which it sees through noisy timings only.

usage: scripts/bench search [--curves 500] [--seed 100000] [--group NAME] [--missed]

Curves, noise and the true choice come from tests/generators/curves.py. Every curve has its own weight of latency
(alpha 0.3, 0.5, 0.7), accuracy constraint (1, 2, 5 points or none) and machine (locked or shared).

builds/counts  engines built over counts of the grid: the cost beside that of the exhaustive search
calls          batches of builds and timings, on average: engines of a batch are timed beside one another
asked          accuracies measured over counts of the grid, on average; "-" where all are known beforehand
regret         utility of the best candidate of the noise-free curve minus that of the chosen one, on that curve
edge same      the step rule chose the edge that it would on the noise-free curve, or none where it may choose none
or tied        or chose a true edge whose loss per gain the measured intervals cannot tell from that one's
no false step  no step was reported between counts where the curve has none
holds          builds, of each group: 10 % on average and 25 % at worst (20 and 35 where builds differ or there are
               valleys); regret, of each group: under 0.01 in 97 % of the runs and under 0.03 in all; the same edge, of
               all curves together: in 95 %, ties not counted; stepless: no step in 95 %, and all choices by utility
               within 0.01 of the best
"""

import argparse
import math
import time
from typing import NamedTuple

import numpy as np

from pomt_trt.core.choice.rules import Goal
from pomt_trt.core.search.replay import choose, drive
from pomt_trt.core.search.search import next_batch
from pomt_trt.core.search.search_state import GROUP, MOST, Point, SearchState, kept_build
from pomt_trt.core.search.steps import find_steps
from pomt_trt.core.statistics.stats import locate
from tests.generators import curves


class Scenario(NamedTuple):
    """A row of the table."""

    name: str
    share: float  # of the curves
    kinds: tuple[str, ...]
    builds: bool = False  # whether builds differ
    on_demand: bool = False  # accuracies are measured when the search asks, and do not fall with every token removed
    group: float = 0.0  # relative standard deviation of an error that all engines of a batch share


MIXED = ("gpu", "cpu", "valleys")
SCENARIOS = (
    Scenario("steps", 0.5, ("gpu", "gpu", "cpu")),
    Scenario("build effect", 0.25, ("gpu", "gpu", "cpu"), builds=True),
    Scenario("valleys", 0.25, ("valleys",)),
    Scenario("stepless", 0.25, ("stepless",)),
    Scenario("on demand", 0.25, MIXED, on_demand=True),
    Scenario("group error", 0.25, MIXED, group=0.01),
)
SLACK = 0.0075  # one and a half standard errors of an accuracy drop on a thousand images
ALL = "all of these"
TAKES = 3  # profiles that one engine can be given


class Machine:
    """Serves profiles of generated engines: build, rebuild (another build effect), time (more samples).

    A group's error is on the ratio to R = 0, which is the unit of all others, and enters each interval.
    """

    def __init__(self, curve, noise, seed, group=0.0):
        self.curve, self.noise, self.seed, self.group = curve, noise, seed, group
        self.calls = 0
        self.level = dict(zip(curve.grid, curve.latency_ms))
        self.engines = {}  # tokens -> [(true latency, rounds timed)], one a build

    def serve(self, kind, counts):
        """The Points of the counts of one batch."""
        self.calls += 1
        assert len(counts) <= (GROUP if self.calls == 1 else MOST), "engines of a batch are timed beside one another"
        error = 1 + self.group * np.random.RandomState([self.seed, 17, self.calls]).randn()
        return [self.point(kind, tokens, error if tokens != self.curve.grid[0] else 1.0) for tokens in counts]

    def point(self, kind, tokens, error):
        """The Point of a count after one more request, in a group that is off by an error."""
        engines = self.engines.setdefault(tokens, [])
        if kind != "time":
            factor = curves.build_factor(self.noise, self.seed, tokens, len(engines)) if self.noise.build else 1.0
            engines.append((self.level[tokens] * factor, []))
        level, rounds = engines[-1] if kind != "time" else self.kept(tokens)
        take = sum(len(timed) // 12 for _, timed in engines)
        rounds.extend((error * curves.timings(level, self.noise, self.seed, tokens, take)).tolist())
        builds_ms = tuple(locate(timed).value for _, timed in engines)
        kept = self.kept(tokens)[1]
        value, low, high = locate(kept)
        error = 1.96 * self.group * value if tokens != self.curve.grid[0] else 0.0
        interval = (value - math.hypot(value - low, error), value + math.hypot(high - value, error))
        return Point(tokens, value, interval, builds_ms, len(kept) < TAKES * 12)

    def kept(self, tokens):
        """The engine that is kept: its true latency and the rounds timed of it."""
        engines = self.engines[tokens]
        return engines[kept_build([locate(timed).value for _, timed in engines])]


class Trial:
    """One search over one curve: what it cost, and how far from the best it ended."""

    def __init__(self, seed, kind, scenario, rule):
        rng, builds, on_demand = np.random.RandomState([seed, 5]), scenario.builds, scenario.on_demand
        self.seed, self.curve = seed, curves.truth(seed, kind)
        if on_demand:
            self.curve = self.curve._replace(accuracy=curves.wandering(seed, self.curve.accuracy))
        self.noise = curves.noise(seed, rng.choice(["locked", "shared"]), builds)
        alpha, drop = float(rng.choice([0.3, 0.5, 0.7])), [0.01, 0.02, 0.05, None][rng.randint(4)]
        self.goal = Goal(rule, alpha=alpha, max_accuracy_drop=drop)
        machine = Machine(self.curve, self.noise, seed, scenario.group)
        accuracy = dict(zip(self.curve.grid, self.curve.accuracy.tolist()))
        state = SearchState(self.curve.grid, self.goal, {}, {} if on_demand else accuracy)
        state = state._replace(batch_size=self.curve.batch_size, builds_vary=builds)
        state = state._replace(accuracy_on_demand=on_demand, accuracy_slack=SLACK * on_demand)
        self.served_s, start = 0.0, time.process_time()
        self.state, self.done = drive(state, self.timed(machine), accuracy, next_batch)
        self.calls, self.asked = machine.calls, len(self.state.accuracy) / len(self.curve.grid) if on_demand else None
        self.selection = choose(self.state)
        self.search_s = time.process_time() - start - self.served_s
        self.share = self.state.builds / len(self.curve.grid)
        self.chosen = self.selection.chosen.tokens_after
        self.best = curves.true_choice(self.curve, rule, alpha, drop)
        self.regret = self.utility(self.best) - self.utility(self.chosen)
        self.best_edge = curves.true_edge(self.curve, drop)
        self.edge = self.chosen if self.selection.rule_used == "step" else None
        self.reported = [step.edge_tokens for step in self.selection.steps]

    def timed(self, machine):
        """The machine's serve, its own time kept apart from the search's."""

        def serve(kind, counts):
            start = time.process_time()
            points = machine.serve(kind, counts)
            self.served_s += time.process_time() - start
            return points

        return serve

    def relative(self, tokens):
        """Noise-free latency over that of R = 0."""
        return self.curve.latency_ms[self.curve.grid.index(tokens)] / self.curve.latency_ms[0]

    def accuracy(self, tokens):
        """As recorded."""
        return self.curve.accuracy[self.curve.grid.index(tokens)]

    def utility(self, tokens):
        """On the noise-free curve."""
        gain = self.goal.alpha * (1 - self.relative(tokens))
        return gain + (1 - self.goal.alpha) * self.accuracy(tokens) / self.accuracy(self.curve.grid[0])

    def ratio(self, tokens):
        """True loss per gain, and the relative uncertainty of that gain as measured."""
        gain = 1 - self.relative(tokens)
        loss = max(0.0, self.accuracy(self.curve.grid[0]) - self.accuracy(tokens))
        rows = (self.selection.unreduced, self.selection.chosen)
        half = sum((row.latency_ci_ms[1] - row.latency_ci_ms[0]) / (2 * rows[0].latency_ms) for row in rows)
        return (loss / gain, half / gain) if gain > 0 else (np.inf, 0.0)

    @property
    def same(self):
        """Whether the edge is that of the noise-free curve."""
        return self.edge == self.best_edge

    @property
    def tied(self):
        """Whether it is, or is a true edge whose loss per gain the measured intervals cannot tell from the best's."""
        truth = self.curve.edges + self.curve.valleys
        if self.same or not {self.edge, self.best_edge} <= set(truth):
            return self.same
        (mine, my_half), (best, best_half) = self.ratio(self.chosen), self.ratio(self.best)
        return mine * (1 - my_half) <= best * (1 + best_half)

    @property
    def false(self):
        """Whether a step was reported between counts where there is none."""
        truth = self.curve.edges + self.curve.valleys
        return any(not any(s.edge_tokens <= t < s.from_tokens for t in truth) for s in self.selection.steps)

    def __str__(self):
        what = f"seed {self.seed} {self.curve.kind} of {self.curve.grid[0]} tokens"
        choice = f"chose {self.chosen}, best {self.best}, {self.share:.1%} built, regret {self.regret:.4f}"
        return f"  {what}: {choice}, found {self.reported}, true {self.curve.edges}"


def line(name, rule, trials):
    """One row of the table."""
    share, regret = np.array([t.share for t in trials]), np.array([t.regret for t in trials])
    stepless = all(not t.curve.edges and not t.curve.valleys for t in trials)
    if rule == "utility" or stepless:
        judged = f"{np.mean(regret < 0.01):7.1%} {np.mean(regret < 0.03):7.1%} {regret.max():7.4f}"
    else:
        judged = "{:>7s} {:>7s} {:>7s}".format("-", "-", "-")
    edges = f"{np.mean([t.same for t in trials]):6.1%} {np.mean([t.tied for t in trials]):6.1%}"
    asked = [t.asked for t in trials if t.asked is not None]
    return "{:13s} {:8s} {:4d} {:6.1%} {:6.1%} {:5.1f} {:>6s} {} {} {:7.1%} {:9.1f}".format(
        name, rule, len(trials), share.mean(), share.max(), np.mean([t.calls for t in trials]),
        f"{np.mean(asked):.1%}" if asked else "-", judged, edges if rule == "step" else "     -      -",
        np.mean([not t.false for t in trials]), 1e3 * np.mean([t.search_s / t.state.builds for t in trials]),
    )  # fmt: skip


def missed_numbers(name, rule, trials):
    """Which of the wanted numbers a group misses, in words; 'holds' if none."""
    mean, most = (0.10, 0.25) if name in ("steps", "stepless") else (0.20, 0.35)
    share, regret = np.array([t.share for t in trials]), np.array([t.regret for t in trials])
    wanted = [("mean builds", share.mean() <= mean), ("most builds", share.max() <= most)]
    if name == ALL:
        wanted = [("same edge", np.mean([t.same for t in trials]) >= 0.95)] if rule == "step" else []
    if name == "stepless":
        wanted = [("no step", np.mean([not t.false for t in trials]) >= 0.95)]
    if rule == "utility":
        bounds = (1.0, 0.01) if name == "stepless" else (0.97, 0.03)
        wanted += [("regret", np.mean(regret < 0.01) >= bounds[0] and regret.max() < bounds[1])]
    return ", ".join("misses " + what for what, held in wanted if not held) or "holds"


def exhaustive_stepless(seed, count):
    """Share of stepless curves, every count of them measured, in which no step is found."""
    clean = 0
    for i in range(seed, seed + count):
        curve, noise = curves.truth(i, "stepless"), curves.noise(i, ("locked", "shared")[i % 2])
        located = [
            locate(curves.timings(ms, noise, i, tokens, 0).tolist())
            for tokens, ms in zip(curve.grid[1:], curve.latency_ms[1:])
        ]
        clean += not find_steps(curve.grid[1:], [v.value for v in located], [(v.low, v.high) for v in located])
    return clean / count


def main(argv):
    """Runs all groups and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--curves", type=int, default=500, help="with steps, valleys or build effects; stepless ones besides"
    )
    parser.add_argument("--seed", type=int, default=100000)
    parser.add_argument("--group", choices=[scenario.name for scenario in SCENARIOS])
    parser.add_argument("--missed", action="store_true", help="list the trials that miss a number")
    flags = parser.parse_args(argv)
    print(__doc__.splitlines()[0] + f" Seed {flags.seed}.")
    print("                            builds/counts                 regret in utility     edge   or     no false")
    print(
        "curves        rule        n   mean    max calls  asked   <0.01   <0.03     max   same   tied    step  ms/build"
    )
    together = {"utility": [], "step": []}
    for number, scenario in enumerate(SCENARIOS):
        if flags.group not in (None, scenario.name):
            continue
        count, first = max(1, int(round(scenario.share * flags.curves))), flags.seed + 10000 * number
        for rule in ("utility", "step"):
            kinds = scenario.kinds
            trials = [Trial(first + i, kinds[i % len(kinds)], scenario, rule) for i in range(count)]
            print(line(scenario.name, rule, trials) + "  " + missed_numbers(scenario.name, rule, trials), flush=True)
            together[rule] += trials if number < 3 else []
            if flags.missed:
                wrong = [t for t in trials if not (t.same if rule == "step" else t.regret < 0.01)]
                print("".join(f"{trial}\n" for trial in wrong), end="")
        if number == 2 and flags.group is None:
            for rule, trials in together.items():
                print(line(ALL, rule, trials) + "  " + missed_numbers(ALL, rule, trials), flush=True)
    if flags.group in (None, "stepless"):
        count = max(1, flags.curves // 10)
        clean = exhaustive_stepless(flags.seed + 50000, count)
        print(f"stepless, every count measured ({count} curves): no step found in {clean:.1%}")
