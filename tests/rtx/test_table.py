"""The stand-in's table of TensorRT-RTX beside the installed package: the same names, members, values and operators."""

import json
import os

import onnx
import pytest

from tests import simulator
from tests.conformance import bindings, test_bindings


@pytest.fixture(scope="module")
def real(trt, tmp_path_factory):
    """What the package holds, told by a process of its own."""
    wheel = bindings.Wheel(simulator.RTX, "tensorrt-rtx-cu13==1.7.1.116", "tensorrt_rtx")
    return simulator.RTX, bindings.describe(wheel, str(tmp_path_factory.mktemp("nothing")))


@pytest.fixture
def table(real):
    return simulator.tables.load(real[0])


check_classes = test_bindings.test_every_class_of_the_stand_in_is_real
check_members = test_bindings.test_every_member_of_the_stand_in_is_real
check_no_member_is_left_out = test_bindings.test_the_stand_in_leaves_no_member_out
check_values = test_bindings.test_every_enum_value_of_the_stand_in_is_real
check_arguments = test_bindings.test_every_argument_list_of_the_stand_in_is_real


@pytest.mark.parametrize(
    "check", [check_classes, check_members, check_no_member_is_left_out, check_values, check_arguments]
)
def test_what_the_stand_in_shows_is_what_the_package_has(real, table, check):
    check(real, table)


def test_the_operators_of_the_table_are_those_that_the_parser_reads(trt):
    class Silent(trt.ILogger):
        def __init__(self):
            trt.ILogger.__init__(self)

        def log(self, severity, msg):
            pass

    log = Silent()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    with open(os.path.join(os.path.dirname(os.path.dirname(__file__)), "data", "onnx_ops.json")) as file:
        tables = json.load(file)
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    known.update(operator for row in tables.values() for operator in row["ops"])
    assert sorted(name for name in known if parser.supports_operator(name)) == tables["rtx-1.7"]["ops"]
