"""What TensorRT-RTX has beyond TensorRT, in the stand-in: targets of a build, validity of a plan, compiled kernels."""

import os

import numpy as np
import pytest

from tests import fakes, simulator
from tests.simulator.board import RTX_4090
from tests.simulator.session import Session

GRAPH = os.path.join(fakes.GRAPHS, "r000-b1.onnx")
TURING = RTX_4090._replace(compute_capability=(7, 5))


@pytest.fixture
def session():
    with simulator.installed(simulator.RTX) as board:
        yield Session(board)


def validity(session, plan):
    """The name of a plan's validity, and the names of what is wrong."""
    found, mask = session.trt.Runtime(session.logger).get_engine_validity(bytes(plan))
    bits = session.trt.EngineInvalidityDiagnostics.__members__
    return found.name, [name for name, bit in bits.items() if mask & int(bit)]


def built_for(session, *names):
    config = session.config()
    config.num_compute_capabilities = len(names)
    for index, name in enumerate(names):
        assert config.set_compute_capability(getattr(session.trt.ComputeCapability, name), index)
    return session.builder.build_serialized_network(session.parsed(GRAPH), config)


def test_a_plan_is_valid_on_the_gpus_that_it_was_built_for(session):
    portable, turing = session.built(GRAPH), built_for(session, "SM75")
    assert validity(session, portable) == validity(session, built_for(session, "SM86", "SM89")) == ("VALID", [])
    assert validity(session, turing) == ("INVALID", ["UNSUPPORTED_CC"]) and session.engine(turing) is None
    with simulator.installed(simulator.RTX, TURING) as board:
        assert validity(Session(board), turing) == ("VALID", [])
        assert validity(Session(board), portable) == ("INVALID", ["UNSUPPORTED_CC"])


def test_what_is_no_plan_and_a_machine_without_a_driver_are_told_apart(session):
    plan = session.built(GRAPH)
    assert validity(session, bytes(plan)[:-1]) == ("INVALID", ["MALFORMED_ENGINE"])
    session.board.faults["no-device"] = ""
    assert validity(session, plan) == ("INVALID", [])  # as seen of the real one, with the reason in the log alone
    assert "cudaError 35" in session.said[-1][1] and session.engine(plan) is None


def test_a_compute_capability_that_cannot_be_set_is_refused(session):
    config, capabilities = session.config(), session.trt.ComputeCapability
    assert config.set_compute_capability(capabilities.SM86, 0) is False  # num_compute_capabilities is 0
    config.num_compute_capabilities = 1
    assert config.set_compute_capability(capabilities.NONE, 0) is False
    assert config.set_compute_capability(capabilities.SM86, 0) is True


def test_a_runtime_cache_fills_with_the_first_run_and_is_taken_by_the_same_gpu_only(session):
    engine = session.engine(session.built(GRAPH))
    config = engine.create_runtime_config()
    cache = config.create_runtime_cache()
    empty = bytes(cache.serialize())
    assert config.set_runtime_cache(cache)
    session.run(engine, np.ones((1, 1, 8, 8), np.float32), (1, 4))
    assert bytes(cache.serialize()) == empty  # that context was made without it
    config._core.compile(engine._core.plan)
    full = bytes(cache.serialize())
    assert full != empty and config.create_runtime_cache().deserialize(full)
    assert not config.create_runtime_cache().deserialize(full[:-1])
    with simulator.installed(simulator.RTX, TURING) as board:
        other = Session(board)
        made = other.engine(built_for(other, "SM75")).create_runtime_config().create_runtime_cache()
        assert made.deserialize(full) is False and bytes(made.serialize()) != full
