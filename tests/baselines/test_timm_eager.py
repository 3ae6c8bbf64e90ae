"""The eager baseline in its real process: what it says of itself, and what it refuses."""

import os

import numpy as np
import pytest
import torch

from pomt_trt.baselines import timm_eager
from pomt_trt.core import child_process, timing_protocol
from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.host.models import loading
from tests.compiled import copied, source


@pytest.fixture(scope="module")
def tiny():
    """A small plain ViT as a folder: 16 px and four blocks."""
    return "local-dir:" + os.path.join(source(), "model")


def prepared(*options):
    """What the child prepares, with the process's thread count put back."""
    before = torch.get_num_threads()
    try:
        return timm_eager.prepare(list(options))
    finally:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def one_interop_thread(monkeypatch):
    """torch takes this setting once a process; the child sets it, tests in this process must not."""
    monkeypatch.setattr(torch, "set_num_interop_threads", lambda count: None)
    for name in timing_protocol.PASSIVE:
        monkeypatch.delenv(name, raising=False)


def test_a_real_child_answers_and_tells_what_it_runs(tiny):
    command = child_process.command("pomt_trt.baselines.timm_eager", "--model", tiny, "--threads", "1")
    with child_process.Child(
        "eager", [*command, "--waiting", "passive"], child_process.environment("passive")
    ) as child:
        about = child.about
        assert len(child.burst(3)) == 3
    assert (about["torch"], about["dtype"], about["device"]) == (str(torch.__version__), "float32", "cpu")
    assert about["fused_attention"] is True and about["threads"] == 1 and about["batch_size"] == 1
    assert about["waiting"] == "passive" and about["variables"] == timing_protocol.PASSIVE


def test_a_child_that_cannot_have_its_model_raises_that_error_in_the_parent():
    command = child_process.command("pomt_trt.baselines.timm_eager", "--model", "deit_tinny_patch16_224")
    with pytest.raises(InputError, match="eager: there is no model 'deit_tinny_patch16_224'. Did you mean"):
        child_process.Child("eager", command, child_process.environment("default"))


def test_runs_timm_as_it_is_from_host_array_to_host_logits(tiny):
    ready = prepared("--model", tiny, "--batch-size", "3")
    image = np.random.RandomState(0).rand(3, 3, 16, 16).astype(np.float32)
    with torch.inference_mode():
        expected = loading.load(tiny).module(torch.from_numpy(image)).numpy()
    logits = ready.run()
    assert isinstance(logits, np.ndarray) and logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-6)


def test_waiting_other_than_the_environment_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="passive waiting was asked for, .* no OpenMP variable. For passive set OMP"):
        prepared("--model", "digits", "--waiting", "passive")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    with pytest.raises(UsageError, match="default waiting was asked for, .*ACTIVE.*for default unset them"):
        prepared("--model", "digits")


def test_a_bundles_model_is_made_again_where_it_is_at_hand(tiny):
    spec = loading.load(tiny).spec
    assert timm_eager._like(spec).spec == spec


def test_elsewhere_its_architecture_with_random_weights_is_as_fast():
    there = loading.load("deit_tiny_patch16_224", image_size=32).spec._replace(name="local-dir:/no/such/folder")
    found = timm_eager._like(there).spec
    assert (found.name, found.weights) == ("deit_tiny_patch16_224", "random (seed 0)")


def test_another_model_of_that_architecture_is_refused(tiny):
    spec = loading.load(tiny).spec._replace(name="local-dir:/no/such/folder")
    with pytest.raises(InputError, match="depth is 12, expected 4.*Put it where it was") as raised:
        timm_eager._like(spec)
    assert "/no/such/folder cannot be loaded" in str(raised.value)


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A compiled work folder; compiling sets how this process waits, which the child would find set by its parent."""
    folder = copied(tmp_path)
    for name in timing_protocol.PASSIVE:
        monkeypatch.delenv(name, raising=False)
    return folder


def test_a_candidate_of_a_work_folder_runs_reduced(work):
    plain, reduced = prepared("--work", work), prepared("--work", work, "--candidate", "r009")
    assert plain.run().shape == reduced.run().shape == (1, 5)
    assert not np.array_equal(plain.run(), reduced.run())


def test_a_candidate_that_the_folder_lacks_is_named(work):
    with pytest.raises(InputError, match="has no candidate r007. It has: r000, r001"):
        prepared("--work", work, "--candidate", "r007")
