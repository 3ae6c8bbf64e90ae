"""Stand-ins for timing a group: clocks that only what runs or sleeps turns, and a rule that counts rounds."""

from pomt_trt.core.records import Engine
from pomt_trt.core.statistics import within_group
from pomt_trt.device.timing.turns import engine_group, sampler
from pomt_trt.device.timing.turns.engine_group import Modes
from tests import fakes

MODES = Modes(2, "default", 3.0)
QUIET = {"steal": 0.0, "others": 0.0, "involuntary_per_s": 0.0}


class RuleOfRounds:
    """Settles each member after its own number of rounds; remembers what it was told."""

    def __init__(self, wanted):
        self._wanted, self.seen, self.max_s = dict(wanted), [], 60.0

    def decide(self, rounds, located, elapsed_s):
        if not rounds:
            return None
        first = rounds[0][0]
        self.seen.append((first, len(rounds), located(), elapsed_s))
        return "settled" if len(rounds) >= self._wanted[round(first)] else None


class Cpu:
    """A processor's clock, turned by what runs."""

    def __init__(self):
        self.used_s = 50.0

    def __call__(self):
        return self.used_s


def bursts(log):
    """Names in the order of their bursts: successive runs of one engine are one burst."""
    return [name for name, before in zip(log, [None] + log) if name != before]


def engine_of(name):
    return Engine(name, fakes.DEVICE, name + ".engine", "0" * 64, 1, None, (1, 1, 8, 8), 2, 0.1)


def sample(members, references, rule, clocks, **options):
    """Samples members beside references, a dict of members and their latencies; see sampler.sample."""
    sampling = sampler.Sampling(rule, within_group.quick, clocks.wall, **options)
    return sampler.sample(list(references), members, sampling)


def profile(member, *others, references=None, modes=MODES, stopped="settled", disturbed=()):
    """The profile of a member that was timed with others; without references relative to the first of these."""
    known = {reference.name: fakes.known(reference.name, ms) for reference, ms in (references or {}).items()}
    everyone = [*(references or {}), *others, member]
    found, clean = engine_group.located(everyone, known, disturbed)
    made = engine_group.profile(member, engine_of(member.name), modes, found[member.name], stopped)
    return engine_group.judged(made, dict(QUIET, **member.seen()), clean)
