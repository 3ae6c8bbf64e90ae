"""From flags to a folder: what is in it, that it can be read back, and what is refused."""

import json
import os

import pytest
import torch
from safetensors import safe_open

from pomt_trt.core.errors import InputError, UsageError, WorkFolderUnusable
from pomt_trt.core.records import Training
from pomt_trt.core.storage import store, workfolder
from pomt_trt.host.models import loading
from pomt_trt.host.training import train
from pomt_trt.host.training.loop import Settings
from tests import compiled

LTMP = train.LtmpSettings(0.75, 0.5, 0.05, 1e-3, 0.4, 0.02, 4)
CROPR = train.CroprSettings(3, True, True, 0.1, 0.0)
SETTINGS = Settings(epochs=1, batch_size=4, warmup=0.0, cosine=False, seed=0)


def task(folder, **changes):
    model, data = (os.path.join(compiled.source(), name) for name in ("model", "data"))
    given = {"model": "local-dir:" + model, "work": str(folder), "data": data, "validation": 0.3, "augment": False}
    given.update(checkpoint=None, pretrained=False, image_size=None, labels=None, class_order=None, threads=None)
    given.update(settings=SETTINGS)
    return train.Task(**{**given, **changes})


def contents(path):
    with safe_open(str(path), "pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def ltmp(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ltmp")
    return folder, train.ltmp(task(folder), LTMP)


@pytest.fixture(scope="module")
def cropr(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cropr")
    return folder, train.cropr(task(folder), CROPR)


def test_ltmp_leaves_thresholds_and_what_they_remove(ltmp):
    about, tensors = contents(ltmp[0] / "ltmp.safetensors")
    assert about == {"format": "pomt-trt", "method": "ltmp", "version": "1"}
    names = {"merge", "prune", "merged_mean", "pruned_mean", "merged_std", "pruned_std"}
    assert set(tensors) == names and all(value.shape == (4,) for value in tensors.values())
    assert all(value.dtype == torch.float32 for value in tensors.values())
    assert ((tensors["merge"] >= 0) & (tensors["merge"] <= 1) & (tensors["prune"] >= 0)).all()
    assert tensors["merge"].ne(0.4).any() and tensors["merged_mean"].sum() > 0


def test_cropr_leaves_one_vector_a_module(cropr):
    about, tensors = contents(cropr[0] / "cropr.safetensors")
    assert about == {"format": "pomt-trt", "method": "cropr", "version": "1", "llf": "1"}
    assert set(tensors) == {"scorers"} and tensors["scorers"].shape == (2, 24)


def test_the_folder_holds_the_model_as_trained(ltmp):
    began = loading.load(task("").model)
    there = loading.load(f"local-dir:{ltmp[0]}")
    assert loading.fingerprint(there.module) == loading.fingerprint(began.module) == ltmp[1].model_sha256
    assert there.spec._replace(name="") == began.spec._replace(name="")


def test_a_backbone_that_is_not_frozen_is_saved_as_it_has_become(tmp_path):
    record = train.cropr(task(tmp_path), CROPR._replace(freeze_backbone=False))
    assert loading.fingerprint(loading.load(f"local-dir:{tmp_path}").module) != record.model_sha256


@pytest.mark.parametrize("name", ["ltmp", "cropr"])
def test_the_record_says_how_it_came_about(name, request):
    folder, record = request.getfixturevalue(name)
    assert store.read_record(str(folder / f"{name}.json"), Training).record == record
    assert (record.method, record.images, record.validation_images, len(record.epochs)) == (name, 7, 3, 1)
    assert record.versions["torch"] and record.settings["batch_size"] == 4
    assert not [path for path in folder.iterdir() if path.name.startswith(".part-")]


def test_the_same_command_again_changes_nothing(ltmp):
    folder, record = ltmp
    _, before = contents(folder / "ltmp.safetensors")
    again = train.ltmp(task(folder), LTMP)
    assert again._replace(seconds=0) == record._replace(seconds=0)
    assert all(value.equal(before[name]) for name, value in contents(folder / "ltmp.safetensors")[1].items())


def test_a_folder_of_another_method_is_refused(ltmp):
    with pytest.raises(UsageError, match="is of another training"):
        train.cropr(task(ltmp[0]), CROPR)


def test_a_folder_in_use_is_refused(tmp_path):
    with workfolder.locked(str(tmp_path)), pytest.raises(WorkFolderUnusable, match="is in use"):
        train.cropr(task(tmp_path), CROPR)


@pytest.mark.parametrize(
    "field, value, flag",
    [
        ("first_merge", 1.2, "--first-merge"),
        ("first_prune", -0.1, "--first-prune"),
        ("target", 0.0, "--reduction-target"),
        ("tau", 0.0, "--tau"),
    ],
)
def test_values_that_cannot_be_are_refused(tmp_path, field, value, flag):
    with pytest.raises(UsageError, match=f"{flag} is {value}"):
        train.ltmp(task(tmp_path), LTMP._replace(**{field: value}))
    assert not list(tmp_path.iterdir())


def test_a_model_without_images_needs_data(tmp_path):
    with pytest.raises(InputError, match="no images to train .* --data DIR"):
        train.ltmp(task(tmp_path, data=None), LTMP)


def test_timm_reads_the_folder(cropr):
    import timm

    config = json.loads((cropr[0] / "config.json").read_text())
    assert config["architecture"] == "vit_tiny_patch16_224"
    assert timm.create_model(f"local-dir:{cropr[0]}", pretrained=True).num_classes == 5
