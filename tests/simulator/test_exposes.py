"""The stand-in shows what the tables list for its release, and nothing more. The tables are read here by themselves."""

import gzip
import json
import os
import sys

import pytest

from tests import simulator, suite

TABLES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "tensorrt_api")
HIDDEN = {"__enter__", "__getitem__", "__len__", "__iter__"}  # the only dunders that the tables list


def table(release):
    with gzip.open(os.path.join(TABLES, release + ".json.gz"), "rb") as file:
        return json.loads(file.read().decode())


@pytest.fixture(params=suite.ALL)
def release(request):
    return request.param


@pytest.fixture
def trt(release):
    with simulator.installed(release) as board:
        yield sys.modules[board.table.package]


def public(thing):
    return {name for name in dir(thing) if not name.startswith("_") or name in ("_itemsize",)}


def test_the_module_has_the_tables_names_and_no_others(trt, release):
    listed = table(release)
    classes = {name for name in listed["classes"] if "." not in name}
    assert public(trt) == classes | set(listed["functions"]) | set(listed["constants"])
    assert trt.__version__ == listed["version"]


def test_every_class_has_the_tables_members_and_no_others(trt, release):
    classes = table(release)["classes"]

    def listed(name):
        entry = classes.get(name, {"members": []})
        inherited = [member for base in entry.get("bases", []) for member in listed(base)]
        return set(entry["members"]) | set(inherited)

    for name, entry in classes.items():
        if "enum" in entry or "." in name or name == "IHostMemory":
            continue
        kind = getattr(trt, name)
        assert public(kind) == {member for member in listed(name) if not member.startswith("_")}, name
        assert all(hasattr(kind, member) for member in HIDDEN & set(entry["members"])), name


def test_every_enum_has_the_tables_names_and_values(trt, release):
    for name, entry in table(release)["classes"].items():
        if "enum" not in entry or "." in name:
            continue
        members = getattr(trt, name).__members__
        assert [[each, int(value)] for each, value in members.items()] == entry["enum"], name


def test_every_method_takes_the_tables_arguments_by_name(trt, release):
    for name, entry in table(release)["classes"].items():
        for member, signatures in entry.get("signatures", {}).items():
            if member.startswith("__"):
                continue
            taken = getattr(getattr(trt, name), member)._arguments
            printed = ["({})".format(", ".join(argument.name for argument in overload)) for overload in taken]
            assert len(printed) == len(signatures), (name, member)
            for signature, names in zip(signatures, printed):
                assert all(each in signature for each in names.strip("()").split(", ")), (signature, names)


def test_signatures_are_read_with_defaults_and_nested_types():
    text = "f(self: X, a: List[Tuple[int, int]], b: Severity = <Severity.WARNING: 2>, c: str = '') -> Dict[str, int]"
    names = [(argument.name, argument.required) for argument in simulator.tables.arguments(text)]
    assert names == [("a", True), ("b", False), ("c", False)]
    old = simulator.tables.arguments("execute_async(batch_size=1, bindings, stream_handle, input_consumed=nullptr)")
    assert [argument.name for argument in old if argument.required] == ["bindings", "stream_handle"]


def test_an_attribute_that_the_release_lacks_cannot_be_read_or_set(trt, release):
    config = trt.Builder(trt.Logger()).create_builder_config()
    old = release.startswith("8.")
    assert hasattr(config, "max_workspace_size") == old
    assert hasattr(trt.IExecutionContext, "execute_async_v3") == (release != "8.2")
    assert hasattr(trt.BuilderFlag, "FP16") == (release not in ("11.4.0", simulator.RTX))
    assert hasattr(trt, "IProgressMonitor") == (not old)
    with pytest.raises(AttributeError):
        config.no_such_setting = 1
    if not old:
        with pytest.raises(AttributeError):
            config.max_workspace_size = 1


def test_wrong_arguments_are_type_errors_as_in_pybind11(trt):
    builder = trt.Builder(trt.Logger())
    with pytest.raises(TypeError, match="incompatible function arguments"):
        builder.create_network(flag=0)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        builder.create_network(1, 2)
    with pytest.raises(TypeError):
        builder.create_builder_config().set_flag(7)
    with pytest.raises(TypeError, match="No constructor defined"):
        trt.ICudaEngine()


def test_a_logger_must_call_its_bases_init(trt):
    class Forgetful(trt.ILogger):
        def __init__(self):
            pass

    with pytest.raises(TypeError, match="__init__.. must be called when overriding __init__"):
        Forgetful()


def test_enums_are_no_integers(trt):
    flag = trt.BuilderFlag.TF32
    assert flag != int(flag) and 1 << int(flag) == 1 << flag.value
    with pytest.raises(TypeError):
        1 << flag
    assert str(flag) == "BuilderFlag.TF32"


def test_a_serialised_engine_is_a_buffer_and_nothing_else(trt):
    memory = trt.Builder(trt.Logger()).create_builder_config().create_timing_cache(b"").serialize()
    assert public(memory) == {"dtype", "nbytes"}
    assert memory.nbytes == len(bytes(memory)) == len(memoryview(memory))
    assert not hasattr(memory, "hex")
    with pytest.raises(TypeError):
        len(memory)
