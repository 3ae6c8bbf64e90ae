"""The four rules: which candidate wins, and why each other one does not.

L, A and U are latency, accuracy and utility of a candidate; L0 and A0 are those of R = 0.
- step: the least max(0, A0 - A) / (L0 - L) among edges of significant steps with L0 - L >= min_gain L0. Where the
  intervals of this ratio overlap, the largest gain wins. Without such an edge it acts as fastest-within.
- utility: the largest U.
- fastest-within: the least L within the accuracy constraint.
- best-within: the largest A within the latency constraint, then the least L.
An exact tie goes to the candidate with more tokens. Why: R = 0 then wins where nothing beats it. A tie within the
intervals is reported.
"""

import math
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from pomt_trt.core.errors import ConstraintUnmet
from pomt_trt.core.records import Interval, Step

RULES = ("step", "utility", "fastest-within", "best-within")
MIN_GAIN = 0.05  # the step rule's least gain over R = 0, as a fraction of its latency
ROUNDING = 1e-9  # of accuracies: 0.81 - 0.80 is 0.01 to the user, not to floating point


class Goal(NamedTuple):
    """A rule and its constraints."""

    rule: str  # one of RULES
    alpha: float = 0.5  # weight of latency in the utility, 0 to 1
    max_accuracy_drop: Optional[float] = None  # fraction, compared with the point estimate; None: any
    max_latency_ms: Optional[float] = None  # None: any
    min_gain: float = MIN_GAIN  # of the step rule, as a fraction of the latency of R = 0


class Entry(NamedTuple):
    """A candidate whose numbers are all known; an unknown interval is a point."""

    id: str
    tokens: int  # leaving the last block
    removed: int
    latency_ms: float
    latency_ci_ms: Interval
    accuracy: float
    drop: float  # accuracy of R = 0 minus this one's
    drop_ci: Interval  # paired
    utility: float
    utility_ci: Interval
    searched: bool = False  # a schedule over several blocks, made of counts at which single blocks are cheap


class Problem(NamedTuple):
    """The input of a rule: entries by descending tokens, R = 0 among them, steps and constraints."""

    entries: Tuple[Entry, ...]
    unreduced: Entry
    edges: Dict[int, Step]  # edge tokens -> significant step
    goal: Goal

    def on_edge(self, entry: Entry) -> bool:
        """Whether its count is the edge of a step. A searched schedule is made of edges, if there are any."""
        return bool(self.edges) if entry.searched else entry.tokens in self.edges

    def gain_ms(self, entry: Entry) -> float:
        """L0 - L."""
        return self.unreduced.latency_ms - entry.latency_ms

    def loss_per_gain(self, entry: Entry) -> float:
        """max(0, A0 - A) / (L0 - L), accuracy fraction per ms; infinite without gain."""
        return max(0.0, entry.drop) / self.gain_ms(entry) if self.gain_ms(entry) > 0 else math.inf

    def loss_per_gain_ci(self, entry: Entry) -> Interval:
        """The interval of loss_per_gain, from those of both latencies and of the paired drop."""
        least = self.unreduced.latency_ci_ms[0] - entry.latency_ci_ms[1]
        most = self.unreduced.latency_ci_ms[1] - entry.latency_ci_ms[0]
        low, high = max(0.0, entry.drop_ci[0]), max(0.0, entry.drop_ci[1])
        return (low / most if most > 0 else math.inf, high / least if least > 0 else math.inf)


class Decision(NamedTuple):
    """The winner of a rule, why it won, and why each other entry did not (`against`)."""

    winner: Entry
    reason: str
    against: Callable[[Entry], str]
    rule_used: str
    notes: Tuple[str, ...] = ()


def decide(problem: Problem) -> Decision:
    """The winner under the goal's rule and constraints.

    Raises: ConstraintUnmet where neither R = 0 nor any other entry meets the constraints.
    """
    allowed = [entry for entry in problem.entries if not broken_constraint(entry, problem)]
    if not allowed:
        raise ConstraintUnmet(_unmet(problem))
    decision = _RULES[problem.goal.rule](allowed, problem)
    if decision.winner.removed == 0:
        note = "R = 0 wins: under this rule and these constraints nothing beats the unreduced model"
        return decision._replace(notes=decision.notes + (note,))
    return decision


def loses_too_much(drop: Optional[float], limit: Optional[float]) -> bool:
    """Whether an accuracy drop breaks the constraint; None: unknown, or no constraint."""
    return drop is not None and limit is not None and drop > limit + ROUNDING


def broken_constraint(entry: Entry, problem: Problem) -> str:
    """Which constraint the entry breaks, in words with both values; empty if none."""
    drop, latency = problem.goal.max_accuracy_drop, problem.goal.max_latency_ms
    if drop is not None and entry.removed and loses_too_much(entry.drop, drop):
        return "accuracy drop {:.2f} points exceeds {:.2f}".format(100 * entry.drop, 100 * drop)
    if latency is not None and entry.latency_ms > latency:
        return "latency {:.4g} ms exceeds {:.4g} ms".format(entry.latency_ms, latency)
    return ""


def _unmet(problem: Problem) -> str:
    limit_ms = problem.goal.max_latency_ms or math.nan
    any_latency = problem._replace(goal=problem.goal._replace(max_latency_ms=None))
    within = [entry for entry in problem.entries if not broken_constraint(entry, any_latency)]
    fastest = min(within, key=lambda entry: entry.latency_ms)
    return (
        "no candidate meets --max-latency {:.4g} ms within the accuracy constraint: R = 0 takes {:.4g} ms, the fastest "
        "that keeps its accuracy ({}) {:.4g} ms. Raise --max-latency or --max-accuracy-drop."
    ).format(limit_ms, problem.unreduced.latency_ms, fastest.id, fastest.latency_ms)


def _step(allowed: Sequence[Entry], problem: Problem) -> Decision:
    """See above. Why the fallback looks at all candidates: a step beyond the constraints must not decide, since it is
    only found where the search looked that far.
    """
    least_ms = problem.goal.min_gain * problem.unreduced.latency_ms
    edges = [e for e in allowed if problem.on_edge(e) and e.removed and problem.gain_ms(e) >= least_ms]
    if not edges:
        text = "edge of a significant step is both within the constraints and {:.0f} % faster"
        missing = text.format(100 * problem.goal.min_gain) if problem.edges else "step is significant"
        return _fastest(allowed, problem)._replace(
            notes=("no {}: the step rule acts as fastest-within".format(missing),)
        )
    best = min(edges, key=lambda e: (problem.loss_per_gain(e), -problem.gain_ms(e), -e.tokens))
    limit = problem.loss_per_gain_ci(best)[1]
    tied = [e for e in edges if e is best or problem.loss_per_gain_ci(e)[0] <= limit]
    winner = min(tied, key=lambda e: (-problem.gain_ms(e), -e.tokens))
    reason = "edge of a step with the smallest accuracy loss per millisecond gained"
    if len(tied) > 1:
        reason += "; tied within the intervals with {}, and gains the most".format(_names(tied, winner))

    def against(entry: Entry) -> str:
        if entry in tied:
            return "edge of a step, tied within the intervals, but gains less than {}".format(winner.id)
        if entry in edges:
            return "edge of a step, but loses more accuracy per millisecond gained than {}".format(winner.id)
        return _not_candidate(entry, problem)

    return Decision(winner, reason, against, "step")


def _not_candidate(entry: Entry, problem: Problem) -> str:
    if entry.removed == 0:
        return "an edge beats the unreduced model"
    if not problem.on_edge(entry):
        return "not the edge of a significant step"
    return "edge of a step, but not {:.0f} % faster than R = 0".format(100 * problem.goal.min_gain)


def _utility(allowed: Sequence[Entry], problem: Problem) -> Decision:
    winner = min(allowed, key=lambda e: (-e.utility, -e.tokens))
    tied = [e for e in allowed if e.utility_ci[1] >= winner.utility_ci[0]]
    return _ranked(winner, tied, "highest utility", "lower utility than {}", "utility")


def _fastest(allowed: Sequence[Entry], problem: Problem) -> Decision:
    winner = min(allowed, key=lambda e: (e.latency_ms, -e.tokens))
    tied = [e for e in allowed if not _apart(e, winner)]
    return _ranked(winner, tied, "lowest latency within the accuracy constraint", "slower than {}", "fastest-within")


def _apart(entry: Entry, winner: Entry) -> bool:
    """Whether two latencies differ by more than the intervals explain: their errors are independent."""
    below_ms, above_ms = entry.latency_ms - entry.latency_ci_ms[0], winner.latency_ci_ms[1] - winner.latency_ms
    return entry.latency_ms - winner.latency_ms > math.hypot(below_ms, above_ms)


def _best(allowed: Sequence[Entry], problem: Problem) -> Decision:
    winner = min(allowed, key=lambda e: (e.drop, e.latency_ms, -e.tokens))
    tied = [e for e in allowed if e.drop_ci[0] <= winner.drop_ci[1]]
    reason = "highest accuracy within the latency constraint"
    return _ranked(winner, tied, reason, "less accurate than {}, or as accurate and slower", "best-within")


def _ranked(winner: Entry, tied: List[Entry], reason: str, against: str, rule: str) -> Decision:
    others = {e.id for e in tied} - {winner.id}
    if others:
        reason += "; within the intervals not to be told from {}".format(_names(tied, winner))

    def explain(entry: Entry) -> str:
        tie = ", though within the intervals the two cannot be told apart" if entry.id in others else ""
        return against.format(winner.id) + tie

    return Decision(winner, reason, explain, rule)


def _names(entries: Sequence[Entry], winner: Entry) -> str:
    return short_list([entry.id for entry in entries if entry.id != winner.id])


def short_list(ids: Sequence[str], most: int = 6) -> str:
    """The first few names, and how many more there are."""
    return ", ".join(ids[:most]) + (" and {} more".format(len(ids) - most) if len(ids) > most else "")


_RULES = {"step": _step, "utility": _utility, "fastest-within": _fastest, "best-within": _best}
