"""Bundles on the board that they were built for, in a container on it, and after an upgrade of its system.

TensorRT and CUDA are stand-ins (tests/simulator); the board's files are a made-up tree.
"""

import os

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the stand-in runs graphs by it")

from pomt_trt import infer
from pomt_trt.core.errors import CorruptArtifact, WrongDevice
from pomt_trt.core.storage import bundle as bundles
from pomt_trt.device.board import jetson
from pomt_trt.device.deploy import deployed
from pomt_trt.device.engines import engine
from tests import fakes, simulator
from tests.device import golden
from tests.device.boards import tree

ORIN = "agx-orin-jetpack-6.2"
HERE, UPGRADED = "36.4.3", "36.4.4"
PIXELS = np.random.RandomState(0).randint(0, 256, (5, 8, 8, 1)).astype(np.uint8)


@pytest.fixture
def release(jetson_here):
    """release(L4T) makes this machine an Orin of that release; None: a container without the board's files."""
    orin = jetson.identity(tree(ORIN))
    return lambda l4t: jetson_here(l4t and orin._replace(l4t=l4t))


@pytest.fixture
def bundle(tmp_path, machine, release):
    """Built on an Orin with TensorRT 10.3."""
    release(HERE)
    return golden.tensorrt_bundle(tmp_path, machine("10.3.0"))


def answers(bundle):
    with deployed.open_predictor(bundle) as classifier:
        return classifier(PIXELS)


def test_a_container_that_does_not_know_its_release_runs_what_the_board_built(bundle, release, caplog):
    before = answers(bundle)
    release(None)
    assert (answers(bundle) == before).all() and not caplog.records


def test_what_a_container_built_runs_on_the_board(tmp_path, machine, release, caplog):
    release(None)
    bundle = golden.tensorrt_bundle(tmp_path, machine("10.3.0"))
    release(HERE)
    assert answers(bundle).shape == (5, 4) and not caplog.records


def test_after_an_upgrade_an_engine_that_passes_the_gate_is_used_and_it_is_said(bundle, release, caplog):
    before = answers(bundle)
    release(UPGRADED)
    assert (answers(bundle) == before).all()
    (record,) = caplog.records
    assert "L4T was 36.4.3 when the engine was built and is 36.4.4. " in record.getMessage()
    assert "The engine still computes the expected logits of 12 golden images" in record.getMessage()


@pytest.mark.parametrize(
    "faults, reason",
    [("wrong-logits=0.5", "differ from r004.npz"), ("nan-logits", "not finite"), ("false-execution", "does not run")],
)
def test_after_an_upgrade_an_engine_that_no_longer_works_is_refused_with_both_releases(
    bundle, machine, release, faults, reason
):
    release(UPGRADED)
    machine("10.3.0", faults)
    with pytest.raises(WrongDevice, match="L4T was 36.4.3 .* is 36.4.4, and .*{}.*--rebuild".format(reason)):
        deployed.open_predictor(bundle)


def test_after_an_upgrade_an_engine_that_cannot_be_checked_is_refused(bundle, release):
    golden.repacked(bundle, bundles.open_bundle(bundle), **{"golden.npz": None})
    assert answers(bundle).shape == (5, 4)
    release(UPGRADED)
    with pytest.raises(WrongDevice, match="holds no golden.npz to check it with.*--rebuild"):
        deployed.open_predictor(bundle)


def test_damage_after_an_upgrade_is_damage(bundle, release):
    release(UPGRADED)
    path = os.path.join(bundle, "r004.engine")
    with open(path, "rb") as file:
        content = file.read()
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CorruptArtifact):
        deployed.open_predictor(bundle)


def test_another_tensorrt_is_refused_whatever_the_release(bundle, machine, release):
    for l4t in (HERE, UPGRADED, None):
        release(l4t)
        machine("10.13.3")
        with pytest.raises(WrongDevice, match="was built for tensorrt 10.3.0 on .* this is tensorrt 10.13.3"):
            deployed.open_predictor(bundle)


def test_another_module_whose_gpu_has_the_same_name_is_refused(bundle, jetson_here):
    """CUDA calls all Orins alike."""
    jetson_here(jetson.identity(tree("orin-nano-jetpack-6.2")))
    with pytest.raises(WrongDevice, match="Orin .NVIDIA Jetson AGX Orin.* this is .*Orin .NVIDIA Jetson Orin Nano"):
        deployed.open_predictor(bundle)


def test_records_of_earlier_versions_name_the_multiprocessors_and_still_match(bundle):
    record = bundles.open_bundle(bundle).engine
    for count in (16, 8):
        old = record._replace(device=record.device._replace(processor="{} ({} SM)".format(simulator.ORIN.name, count)))
        with engine.open_engine(old, bundle) as runner:
            assert runner.input_shape == (1, 1, 8, 8)
    other = record._replace(device=record.device._replace(processor="Xavier (16 SM)"))
    with pytest.raises(WrongDevice, match=r"Xavier \(16 SM\)"):
        engine.open_engine(other, bundle)


def test_only_a_bundle_that_is_refused_is_built_anew_before_a_service_starts(bundle, release, machine, capsys):
    assert infer.main([bundle, "--rebuild-refused"]) == 0
    assert capsys.readouterr().err == ""
    release(UPGRADED)
    device = machine("10.13.3")
    assert infer.main([bundle, "--rebuild-refused"]) == 0
    said = capsys.readouterr().err
    assert "was built for tensorrt 10.3.0" in said and "It is built anew now" in said and "rebuilt " in said
    assert bundles.open_bundle(bundle).engine.device == device
    assert answers(bundle).shape == (5, 4)


def test_what_is_wrong_besides_is_no_reason_to_build(tmp_path, capsys):
    assert infer.main([str(tmp_path), "--rebuild-refused"]) == 3
    assert "is no bundle" in capsys.readouterr().err


def test_a_picture_may_follow(bundle, tmp_path, capsys):
    path = str(tmp_path / "p.png")
    fakes.picture(1).save(path)
    assert infer.main([bundle, path, "--rebuild-refused", "--top-k", "1"]) == 0
    assert "upper right" in capsys.readouterr().out
