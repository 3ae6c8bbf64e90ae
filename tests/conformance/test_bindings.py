"""The stand-in TensorRT beside NVIDIA's bindings: what it shows is there, with those values and those arguments."""

import re
import shutil

import pytest

from tests import simulator
from tests.conformance import bindings

pytestmark = [pytest.mark.network, pytest.mark.long]


@pytest.fixture(scope="module", params=bindings.WHEELS, ids=lambda wheel: wheel.release)
def real(request, tmp_path_factory):
    """The release and what its bindings hold."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not here, which makes the stub libraries")
    folder = str(tmp_path_factory.mktemp("bindings"))
    try:
        bindings.install(request.param, folder)
    except bindings.Unreachable as error:
        pytest.skip("the package index cannot be reached: {}".format(error))
    bindings.stubs(folder, request.param.major)
    return request.param.release, bindings.describe(request.param, folder)


@pytest.fixture
def table(real):
    return simulator.tables.load(real[0])


def test_every_class_of_the_stand_in_is_real(real, table):
    assert real[1]["version"] == table.version
    assert not set(table.classes) - set(real[1]["classes"])
    assert not (set(table.functions) | set(table.constants)) - set(real[1]["names"])


def test_every_member_of_the_stand_in_is_real(real, table):
    for name, entry in table.classes.items():
        missing = set(entry.members) - set(real[1]["classes"][name]["members"])
        assert not missing, (name, missing)


def test_the_stand_in_leaves_no_member_out(real, table):
    for name, entry in table.classes.items():
        public = {member for member in real[1]["classes"][name]["members"] if not member.startswith("_")}
        assert not public - set(entry.members) - set(entry.enum or ()) - {"name", "value"}, name


def test_every_enum_value_of_the_stand_in_is_real(real, table):
    for name, entry in table.classes.items():
        if entry.enum is not None:
            assert entry.enum == real[1]["classes"][name]["enum"], name


def test_every_argument_list_of_the_stand_in_is_real(real, table):
    for name, entry in table.classes.items():
        for member, overloads in entry.methods.items():
            printed = _signatures(member, real[1]["classes"][name]["docs"].get(member, ""))
            names = [[argument.name for argument in overload] for overload in overloads]
            assert names == printed, (name, member)


def _signatures(member, doc):
    """Argument names of each overload that pybind11 prints at the head of a docstring."""
    found = re.findall(r"^(?:\d+\. )?({}\(.*)$".format(re.escape(member)), doc, re.MULTILINE)
    return [
        [argument.name for argument in simulator.tables.arguments(signature)]
        for signature in found
        if "*args" not in signature
    ]
