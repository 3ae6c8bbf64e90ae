"""For which GPUs engines are built that are not here, and what is refused before any work is done."""

import logging

import pytest

from pomt_trt.core.errors import MissingDependency, UsageError
from pomt_trt.device.board import board
from pomt_trt.device.engines import ahead, registry
from pomt_trt.device.engines.tensorrt import gpu_targets
from tests import fakes, simulator

RTX = fakes.DEVICE._replace(engine="tensorrt-rtx", engine_version="1.7.1.116")


@pytest.mark.parametrize(
    "gpu, capability, name", [("portable", None, "portable"), ("7.5", "7.5", "7.5"), ("12.1", "12.1", "12.1")]
)
def test_engines_for_gpus_elsewhere_have_a_device_id_of_their_own(gpu, capability, name):
    with simulator.installed(simulator.RTX, faults="no-device"):
        found = ahead.device("tensorrt-rtx", gpu)
    assert found.id == "tensorrt-rtx-1.7.1.116-for-" + name
    assert (found.compute_capability, found.memory_bytes) == (capability, 0)


@pytest.mark.parametrize(
    "gpu, told",
    [
        ("8.7", "8.7 is no target of TensorRT-RTX. It has portable, 7.5, 8.6.*Orin runs TensorRT of JetPack"),
        ("11.0", "11.0 is no target.*Thor runs TensorRT of JetPack.*jetpack-7.0"),
        ("9.0", "9.0 is no target.*takes portable"),
        ("a GPU", "a GPU is no target"),
    ],
)
def test_a_gpu_that_is_no_target_is_refused_and_told_what_is(gpu, told):
    with pytest.raises(UsageError, match=told):
        ahead.device("tensorrt-rtx", gpu)


@pytest.mark.parametrize("engine", ["onnxruntime", "tensorrt"])
def test_a_library_that_builds_for_its_own_machine_takes_no_gpu(engine):
    with pytest.raises(UsageError, match="--gpu 8.6 is for --engine tensorrt-rtx, and this is {}".format(engine)):
        ahead.device(engine, "8.6")


def test_bf16_is_refused_for_turing_and_plugins_for_every_gpu():
    with pytest.raises(UsageError, match="bf16 is not for --gpu 7.5.*8.0 or later.*fp16"):
        gpu_targets.check("7.5", "bf16", plugin=False)
    with pytest.raises(UsageError, match="plugins cannot be built ahead of time.*--plugin off"):
        gpu_targets.check("portable", "fp16", plugin=True)
    gpu_targets.check("portable", "bf16", plugin=False)
    gpu_targets.check("7.5", "fp16", plugin=False)


@pytest.mark.parametrize(
    "capability, gpus, target",
    [
        ("7.5", ("7.5",), "7.5"),
        ("8.6", ("8.6", "portable"), "portable"),
        ("9.0", ("portable",), "portable"),  # not in NVIDIA's matrix: the library says whether it runs
        ("12.1", ("12.1", "portable"), "portable"),
    ],
)
def test_a_gpu_adopts_engines_for_itself_and_portable_ones(capability, gpus, target):
    here = RTX._replace(compute_capability=capability)
    assert gpu_targets.adoptable(here) == gpus
    assert gpu_targets.target(None, here) == target and gpu_targets.target("8.9", here) == "8.9"


def test_without_a_gpu_engines_are_built_portable_and_that_is_said(caplog):
    with simulator.installed(simulator.RTX, faults="no-device"), caplog.at_level(logging.WARNING):
        device, gpu = ahead.building_device("tensorrt-rtx", None)
    assert gpu == "portable" and device.id.endswith("for-portable")
    assert "no GPU can be used here" in caplog.text and "no CUDA-capable device" in caplog.text


def test_with_a_gpu_engines_are_built_for_it_unless_others_are_named():
    with simulator.installed(simulator.RTX):
        assert ahead.building_device("tensorrt-rtx", None) == (board.device_spec("tensorrt-rtx"), None)
        assert ahead.building_device("tensorrt-rtx", "7.5")[1] == "7.5"


def test_running_without_a_gpu_says_how_to_build_without_one():
    told = "no CUDA-capable device.*pomt-trt build WORK --engine tensorrt-rtx"
    with simulator.installed(simulator.RTX, faults="no-device"), pytest.raises(MissingDependency, match=told):
        ahead.running_device("tensorrt-rtx")
    with simulator.installed("10.3.0", faults="no-device"), pytest.raises(MissingDependency) as raised:
        ahead.running_device("tensorrt")
    assert "tensorrt-rtx" not in str(raised.value)


def test_without_the_package_it_says_how_to_install_it(absent):
    absent("tensorrt_rtx")
    for ask in (registry.installed, registry.version, ahead.running_device):
        with pytest.raises(MissingDependency, match=r"TensorRT-RTX is not installed here.*pomt-trt\[rtx\]"):
            ask("tensorrt-rtx")
    with pytest.raises(MissingDependency, match=r"pomt-trt\[rtx\]"):
        ahead.building_device("tensorrt-rtx", None)
