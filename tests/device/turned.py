"""Stand-ins for timing a group: clocks that only what runs or sleeps turns, and a rule that counts rounds."""

from pomt_trt.core.records import Engine
from pomt_trt.device.timing import latency
from pomt_trt.device.timing.latency import Modes
from tests import fakes

MODES = Modes(2, "default", 3.0)
QUIET = {"steal": 0.0, "others": 0.0, "involuntary_per_s": 0.0}


class RuleOfRounds:
    """Settles each member after its own number of rounds; remembers what it was told."""

    def __init__(self, wanted):
        self._wanted, self.seen = dict(wanted), []

    def decide(self, rounds, located, elapsed_s):
        first = rounds[0][0]
        self.seen.append((first, len(rounds), located(), elapsed_s))
        return "settled" if len(rounds) >= self._wanted[round(first)] else None


class Cpu:
    """A processor's clock, turned by what runs."""

    def __init__(self):
        self.used_s = 50.0

    def __call__(self):
        return self.used_s


def visits(log):
    """Names in the order of their visits: successive runs of one engine are one visit."""
    return [name for name, before in zip(log, [None] + log) if name != before]


def engine_of(name):
    return Engine(name, fakes.DEVICE, name + ".engine", "0" * 64, 1, None, (1, 1, 8, 8), 2, 0.1)


def profile(member, *others, **changes):
    """The profile of a member that was timed with others."""
    about = dict(modes=MODES, known=(), stopped="settled", contention=QUIET)
    about.update(changes)
    return latency.profile(member, engine_of(member.candidate_id), about.pop("modes"), group=[member, *others], **about)
