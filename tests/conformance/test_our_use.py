"""Our own modules use only names that TensorRT has: in every release, or after asking with hasattr."""

import pytest

from tests import simulator
from tests.conformance import usage

TABLES = {release: simulator.tables.load(release) for release in simulator.ALL}
# Reached only where what stands on the right is there, which another function has asked for.
REACHED_WITH = {
    ("IBuilderConfig", "progress_monitor"): ("", "IProgressMonitor"),
    ("ILayer", "precision"): ("BuilderFlag", "FP16"),
    ("ILayer", "set_output_type"): ("BuilderFlag", "FP16"),
    ("BuilderFlag", "OBEY_PRECISION_CONSTRAINTS"): ("BuilderFlag", "FP16"),
}


def has(table, owner, member):
    if member in ("__version__", "__init__", "__name__", "__members__"):
        return True
    if not owner:
        return member in table.classes or member in table.functions or member in table.constants
    entry = table.classes.get(owner)
    return entry is not None and (member in entry.members or member in (entry.enum or ()))


def wrong(found):
    """What is wrong with these uses, as text."""
    complaints = []
    for use in found:
        there = {release for release, table in TABLES.items() if has(table, use.owner, use.member)}
        name = "{}.{}".format(use.owner or "trt", use.member)
        gate = REACHED_WITH.get((use.owner, use.member))
        needed = {release for release, table in TABLES.items() if gate is None or has(table, *gate)}
        if not there:
            complaints.append("{}: no release has {}".format(use.place, name))
        elif not use.asked_for and needed - there:
            lacking = ", ".join(sorted(needed - there))
            complaints.append("{}: {} is not in {}, and no hasattr asks for it".format(use.place, name, lacking))
    return complaints


def test_our_modules_use_what_is_there():
    found = list(usage.uses())
    assert len({(use.owner, use.member) for use in found}) > 30  # or the search has gone blind
    assert wrong(found) == []


@pytest.mark.parametrize(
    "source, complaint",
    [
        ("def f(trt):\n    return trt.BuilderFlag.FP61\n", "no release has BuilderFlag.FP61"),
        ("def f(trt):\n    return trt.MemoryPoolType.WORKSPACE\n", "MemoryPoolType.WORKSPACE is not in 8.2"),
        (
            "def f(trt, config):\n    config.max_workspace_size = 1\n",
            "IBuilderConfig.max_workspace_size is not in 10.13.3",
        ),
        ("class A:\n    def f(self, trt):\n        self._engine.num_oi_tensors\n", "no release has ICudaEngine.num_oi"),
    ],
)
def test_a_wrong_name_is_found(source, complaint):
    (said,) = [each for each in wrong(usage.uses_in(source, "trt_wrong.py")) if complaint in each]
    assert said.startswith("trt_wrong.py:")


def test_a_name_that_is_asked_for_may_be_missing():
    source = (
        "def f(trt, config):\n    if hasattr(config, 'max_workspace_size'):\n        config.max_workspace_size = 1\n"
    )
    assert wrong(usage.uses_in(source, "trt_right.py")) == []
