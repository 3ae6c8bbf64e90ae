"""Latency curves as machines make them, from a seed: the noise-free curve, its true steps, and noisy timings of it.

Staircases as GPUs make them (tile and wave quantisation of batch x tokens, several GEMM shapes, a launch-bound floor,
cliffs of fused attention), slopes as CPUs make them (one-token valleys at multiples of 8, 16 or 32, steps of caches),
curves without any step; noise of a locked board and of a shared machine, and builds that differ.
"""

from typing import NamedTuple, Optional, Tuple

import numpy as np

TOKENS = (197, 198, 257, 261, 401, 577, 785, 1025, 1370)
STEP = 0.03  # relative: what counts as a step of the truth
RIPPLE = 0.01  # relative: what must not be mistaken for one; nothing lies in between


class Truth(NamedTuple):
    """A curve without noise."""

    kind: str  # gpu, cpu, valleys, stepless
    batch_size: int
    grid: Tuple[int, ...]  # descending; the first is R = 0, whose graph is another one
    latency_ms: np.ndarray  # one a count of the grid
    accuracy: np.ndarray  # as recorded, estimation noise included
    edges: Tuple[int, ...]  # first counts past a step of STEP or more
    valleys: Tuple[int, ...]  # counts cheaper by STEP or more than both their neighbours


class Noise(NamedTuple):
    """How timings of one machine scatter; all relative."""

    sigma: float  # of an undisturbed run
    hit: float = 0.0  # share of runs that something disturbs
    tail: float = 0.0  # mean slowdown of those
    burst: float = 0.0  # share of a profile that lies under one long disturbance
    drift: float = 0.0  # what is left of drift in a profile after the reference has taken most of it out
    tick_ms: float = 0.0  # of the clock
    build: float = 0.0  # standard deviation between builds
    bad_builds: float = 0.0  # share of builds that picked poor tactics: up to +140 %


def truth(seed: int, kind: str) -> Truth:
    """A curve of the given kind with 1 to 6 steps (stepless: none; valleys: 0 to 2 steps besides the valleys)."""
    wanted = {"gpu": (1, 6), "cpu": (1, 6), "valleys": (0, 2), "stepless": (0, 0)}[kind]
    for attempt in range(2000):
        rng = np.random.RandomState([seed, attempt])
        tokens = int(rng.choice(TOKENS))
        counts = np.arange(tokens, tokens // 4 - 1, -1)
        batch = int(rng.choice([1, 1, 2, 4, 8]))
        smooth = {"gpu": _staircase, "cpu": _slope_with_steps, "valleys": _slope_with_steps, "stepless": _slope}[kind]
        latency = smooth(rng, counts, batch, wanted)
        excess = _excess_drops(latency)
        edges = counts[1:][excess >= STEP]
        if not wanted[0] <= len(edges) <= wanted[1] or ((excess > RIPPLE) & (excess < STEP)).any():
            continue
        valleys: Tuple[int, ...] = ()
        if kind == "valleys":
            period, depth = int(rng.choice([8, 16, 32])), rng.uniform(0.035, 0.12)
            if any(edge % period in (0, 1, period - 1) for edge in edges):
                continue  # an edge beside a valley is neither
            at = (counts % period == 0) & (counts < tokens - 1) & (counts > counts[-1])  # R = 0 is nobody's neighbour
            latency = np.where(at, latency * (1 - depth), latency)
            valleys = tuple(int(c) for c in counts[at])
        latency[0] *= rng.uniform(0.9, 1.02)  # attention fused everywhere
        grid = tuple(int(c) for c in counts)
        return Truth(kind, batch, grid, latency, _accuracy(rng, counts), tuple(int(e) for e in edges), valleys)
    raise AssertionError("no {} curve came out of seed {}".format(kind, seed))


def _staircase(rng: np.random.RandomState, counts: np.ndarray, batch: int, wanted: Tuple[int, int]) -> np.ndarray:
    m, top = batch * counts, batch * counts[0]
    latency = rng.uniform(0.02, 0.3) * counts / counts[0] + rng.uniform(0, 0.15) * (counts / counts[0]) ** 2
    for share in rng.dirichlet(np.ones(rng.randint(1, 4))):
        wave = int(rng.choice([64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048])) * int(rng.choice([1, 1, 2]))
        latency = latency + share * np.ceil(m / wave) * wave / top
    if rng.rand() < 0.4:
        limit = int(rng.choice([64, 128, 256, 384, 512, 1024]))
        latency = latency * np.where(counts > limit, 1 + rng.uniform(0.04, 0.15), 1.0)
    if rng.rand() < 0.3:
        latency = np.maximum(latency, rng.uniform(0.3, 0.6) * latency[0])
    return np.asarray(latency * rng.uniform(1, 20))


def _slope(rng: np.random.RandomState, counts: np.ndarray, batch: int, wanted: Tuple[int, int]) -> np.ndarray:
    x = counts / counts[0]
    return np.asarray((rng.uniform(0.02, 0.4) + x + rng.uniform(0, 0.5) * x**2) * rng.uniform(1, 50))


def _slope_with_steps(
    rng: np.random.RandomState, counts: np.ndarray, batch: int, wanted: Tuple[int, int]
) -> np.ndarray:
    latency = _slope(rng, counts, batch, wanted)
    for edge in rng.choice(counts[3:-3], rng.randint(wanted[0], wanted[1] + 1), replace=False):
        latency = np.where(counts <= edge, latency * (1 - rng.uniform(0.035, 0.12)), latency)
    return latency


def _excess_drops(latency: np.ndarray) -> np.ndarray:
    """Relative drop at each count, less the local trend (median of the drops around it)."""
    drops = -np.diff(np.log(latency))
    padded = np.pad(drops, 4, mode="edge")
    return drops - np.median(np.stack([padded[i : i + len(drops)] for i in range(9)]), axis=0)


def _accuracy(rng: np.random.RandomState, counts: np.ndarray) -> np.ndarray:
    """Slow at first, then falling; with the smooth wander of an estimate on the same images throughout."""
    removed = 1 - counts / counts[0]
    top, loss = rng.uniform(0.7, 0.85), rng.uniform(0.02, 0.25)
    wander = np.cumsum(rng.randn(len(counts))) * 0.003 / np.sqrt(len(counts))
    wander = (wander - wander[0]) * np.minimum(1, 4 * removed)
    return np.asarray(np.round(1024 * (top - loss * removed ** rng.uniform(1.5, 3.5) + wander)) / 1024)


def wandering(seed: int, accuracy: np.ndarray) -> np.ndarray:
    """The accuracy as few images show it: it rises and falls by up to half a point between neighbours."""
    rng, wander = np.random.RandomState([seed, 19]), np.zeros(len(accuracy))
    for i in range(1, len(accuracy)):
        wander[i] = 0.8 * wander[i - 1] + 0.6 * rng.randn()
    return np.asarray(np.clip(accuracy + np.round(1024 * 0.002 * wander) / 1024, 0, 1))


def noise(seed: int, machine: str, builds: bool = False) -> Noise:
    """locked: up to 2 % in one mode. shared: up to half of the runs disturbed, by up to 30 % on average."""
    rng = np.random.RandomState([seed, 77])
    effect, bad = (rng.uniform(0.01, 0.02), 0.05) if builds else (0.0, 0.0)
    tick = float(rng.choice([0.0, 0.001, 0.01]))
    if machine == "locked":
        return Noise(rng.uniform(0.002, 0.02), drift=0.001, tick_ms=tick, build=effect, bad_builds=bad)
    return Noise(
        rng.uniform(0.002, 0.01),
        hit=rng.uniform(0.1, 0.5),
        tail=rng.uniform(0.05, 0.3),
        burst=rng.uniform(0, 0.2),
        drift=0.002,
        tick_ms=tick,
        build=effect,
        bad_builds=bad,
    )


def build_factor(noise: Noise, seed: int, tokens: int, build: int) -> float:
    """How much slower the build-th engine of a count is than the curve says."""
    rng = np.random.RandomState([seed, 11, tokens, build])
    factor = np.exp(noise.build * rng.randn())
    return float(factor * (1 + rng.uniform(0.1, 1.4)) if rng.rand() < noise.bad_builds else factor)


def timings(level_ms: float, noise: Noise, seed: int, tokens: int, take: int, rounds: int = 12) -> np.ndarray:
    """The take-th profile of an engine whose undisturbed latency is level_ms: rounds of five runs, in ms."""
    rng = np.random.RandomState([seed, 13, tokens, take])
    runs = 1 + noise.sigma * rng.randn(rounds, 5)
    hit = rng.rand(rounds, 5) < noise.hit
    slow = rng.exponential(max(noise.tail, 1e-9), (rounds, 5)) + 0.5 * noise.tail * (rng.rand(rounds, 5) < 0.5)
    runs = runs + hit * slow
    start = rng.randint(rounds)
    runs[start : start + int(round(noise.burst * rounds))] *= 1 + noise.tail
    runs = level_ms * runs * (1 + noise.drift * rng.randn())
    return np.asarray(np.round(runs / noise.tick_ms) * noise.tick_ms if noise.tick_ms else runs)


def true_choice(curve: Truth, rule: str, alpha: float, max_drop: Optional[float]) -> int:
    """The count the rule picks on the noise-free curve, edges and valleys being known."""
    edge = true_edge(curve, max_drop) if rule == "step" else None
    if edge is not None:
        return edge
    relative, drop = curve.latency_ms / curve.latency_ms[0], curve.accuracy[0] - curve.accuracy
    allowed = np.ones(len(drop), dtype=bool) if max_drop is None else drop <= max_drop + 1e-9
    if rule != "utility":
        return curve.grid[int(np.argmin(np.where(allowed, relative, np.inf)))]
    value = alpha * (1 - relative) + (1 - alpha) * curve.accuracy / curve.accuracy[0]
    return curve.grid[int(np.argmax(np.where(allowed, value, -np.inf)))]


def true_edge(curve: Truth, max_drop: Optional[float], min_gain: float = 0.05) -> Optional[int]:
    """The edge that the step rule picks on the noise-free curve; None where none may be picked."""
    relative, drop = curve.latency_ms / curve.latency_ms[0], curve.accuracy[0] - curve.accuracy
    at = np.isin(curve.grid, curve.edges + curve.valleys) & (1 - relative >= min_gain)
    at &= True if max_drop is None else drop <= max_drop + 1e-9
    if not at.any():
        return None
    ratio = np.where(at, np.maximum(0, drop) / np.maximum(1 - relative, 1e-9), np.inf)
    return curve.grid[int(np.lexsort((relative, ratio))[0])]
