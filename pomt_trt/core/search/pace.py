"""Predicts how long an exhaustive search would take, so that the adaptive one never takes longer.

A call that measures k engines times them beside R = 0 and known engines, REFERENCES in a group. It costs
    T(k) = a (k + REFERENCES ceil(k / MOST))
with a the seconds an engine, build included; the first call, which knows no engine yet, costs a k. An accuracy costs b
seconds. With the least a and b so far, an exhaustive search of n counts takes T(n) + b n. A batch is expected to take
T(k) or b k with the largest a and b so far; timing engines again takes AGAIN T(k), rebuilding them k T(1).
Why least and largest: the adaptive search then ends rather too early than too late.
"""

import math
from typing import Dict, List

from pomt_trt.core.search.search_state import MOST, REFERENCES, Batch

AGAIN = 2  # times as long as the first time a candidate is timed


def _engines(counts: int) -> float:
    return counts + REFERENCES * math.ceil(counts / MOST)


class Pace:
    """What the calls of one search took."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._rates: Dict[str, List[float]] = {"accuracy": [], "build": []}  # seconds an accuracy or an engine

    def add(self, batch: Batch, seconds: float) -> None:
        """One batch took so long."""
        rates = self._rates[_kind(batch)]
        self.spent_s += seconds
        rates.append(seconds / (_units(batch) if rates else len(batch.counts)))

    def exhaustive_s(self, counts: int, accuracies: bool) -> float:
        """How long it would take to measure all counts; infinite as long as nothing was built."""
        least = {kind: min(rates) if rates else math.inf for kind, rates in self._rates.items()}
        return least["build"] * _engines(counts) + (least["accuracy"] * counts if accuracies else 0.0)

    def allows(self, batch: Batch, counts: int, accuracies: bool) -> bool:
        """Whether all is done after this batch before the exhaustive search of so many counts would be."""
        rates = self._rates[_kind(batch)]
        expected_s = max(rates) * _units(batch) if rates else 0.0
        return self.spent_s + expected_s <= self.exhaustive_s(counts, accuracies)


def _kind(batch: Batch) -> str:
    return "accuracy" if batch.kind == "accuracy" else "build"


def _units(batch: Batch) -> float:
    counts = len(batch.counts)
    if batch.kind == "accuracy":
        return counts
    if batch.kind == "rebuild":  # each of which is timed by itself
        return counts * _engines(1)
    return _engines(counts) * (AGAIN if batch.kind == "time" else 1)
