"""Which cases guard a change; all others of a test are marked long and run with `scripts/test --all`."""

from typing import Any, Iterable, List

import pytest

from tests import simulator

RELEASE_GUARDS = ("8.2", "8.6.1", "10.3.0", simulator.RTX)  # one of each graph format


def sampled(cases: Iterable[Any], guards: Iterable[Any]) -> List[Any]:
    """The cases as values of one parameter."""
    kept = list(guards)
    return [case if case in kept else pytest.param(case, marks=pytest.mark.long) for case in cases]


def each(releases: Iterable[str]) -> List[Any]:
    """Releases of TensorRT as values of one parameter."""
    return sampled(releases, RELEASE_GUARDS)


RELEASES, ALL = each(simulator.RELEASES), each(simulator.ALL)
