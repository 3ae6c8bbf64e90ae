"""host/models/heads, through loading.load: outputs that are no classes are refused, and classes have names."""

import json

import pytest
import torch

import pomt_trt
from pomt_trt.core.errors import InputError
from pomt_trt.host.models import heads
from pomt_trt.host.models.loading import load
from tests import compiled
from tests.host import tiny

REFUSED = {
    "features": ({"num_classes": 0}, "has no classifier .num_classes = 0.: it gives features.*--head FILE"),
    "one output": ({"num_classes": 1}, "has one output.*can be written as two classes"),
    "features of patches": ({"num_classes": 0, "global_pool": ""}, "it gives features"),
    "one class of patches": ({"num_classes": 1, "global_pool": ""}, "has one output"),
    "more classes of patches than a byte": ({"num_classes": 256, "global_pool": ""}, "255 classes at most"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_head_without_a_choice_of_classes_is_refused(kind):
    changes, reason = REFUSED[kind]
    with pytest.raises(InputError, match=reason):
        load(tiny.vit(**changes))


@pytest.mark.parametrize("kind", REFUSED)
def test_reduce_tokens_needs_no_head(kind):
    model = tiny.vit(**REFUSED[kind][0])
    image = torch.zeros(1, 3, 16, 16)
    with torch.no_grad():
        assert pomt_trt.reduce_tokens(model, "tome", removed=0)(image).shape[1] in (24, 1, 256)


def folder(tmp_path, classes=5, **changes):
    """local-dir:PATH of a model whose config.json is changed after it was written."""
    compiled.write_model(str(tmp_path / "model"), classes)
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return f"local-dir:{tmp_path / 'model'}"


@pytest.mark.parametrize("command", ["export", "compile", "compare", "train ltmp", "train cropr --removed 1"])
@pytest.mark.parametrize("classes, said", [(0, "has no classifier"), (1, "has one output")])
def test_every_command_that_takes_a_model_refuses_it(command, classes, said, tmp_path, capsys):
    name = folder(tmp_path, classes)
    code, out, err = compiled.call(capsys, *command.split(), name, "--work", tmp_path / "work")
    assert (code, out) == (3, "") and said in err.splitlines()[-1]
    assert not (tmp_path / "work" / "experiment.json").exists()


def test_a_module_given_in_python_is_refused_likewise(tmp_path):
    with pytest.raises(InputError, match="VisionTransformer has no classifier"):
        pomt_trt.compile_model(tiny.vit(num_classes=0), work=str(tmp_path / "work"))


def test_weights_are_not_downloaded_for_a_model_without_a_classifier(monkeypatch):
    from timm.models import _builder

    monkeypatch.setattr(_builder, "load_pretrained", lambda *_, **__: pytest.fail("it was downloaded"))
    with pytest.raises(InputError, match="vit_small_patch14_dinov2 has no classifier"):
        load("vit_small_patch14_dinov2", pretrained=True)


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_a_configuration_of_several_classes_an_image_is_refused(problem, tmp_path):
    said = f"says problem_type = {problem}, and only single_label_classification is supported yet"
    with pytest.raises(InputError, match=said):
        load(folder(tmp_path, problem_type=problem))
    module = tiny.vit()
    module.pretrained_cfg = {"problem_type": problem}
    with pytest.raises(InputError, match=said):
        load(module)


def test_a_configuration_of_one_class_an_image_is_taken(tmp_path):
    assert load(folder(tmp_path, problem_type="single_label_classification")).spec.classes == 5


def test_a_head_takes_the_place_of_one_that_cannot_be_used(tmp_path):
    path = str(tmp_path / "head.pth")
    torch.save({"weight": torch.zeros(3, 48), "bias": torch.zeros(3)}, path)
    assert load(folder(tmp_path, problem_type="regression"), head=path).spec.classes == 3


@pytest.mark.parametrize("text", ["", "[1]", '{"pretrained_cfg": 3}'])
def test_a_configuration_that_is_none_says_nothing(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    heads.check_problem("it", heads.configuration_in(tmp_path))


def small():
    return tiny.vit(depth=1)


def test_class_names_come_from_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("one\ntwo\nthree \nfour\nfünf\n", encoding="utf-8")
    assert load(small(), labels=str(tmp_path / "names.txt")).spec.labels == ("one", "two", "three", "four", "fünf")


def test_class_names_must_be_as_many_as_the_classes(tmp_path):
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    with pytest.raises(InputError, match="names 2 classes, the model has 5: write one name a line"):
        load(small(), labels=str(tmp_path / "names.txt"))
    with pytest.raises(InputError, match="cannot read labels from .*Give --labels a text file"):
        load(small(), labels=str(tmp_path / "absent.txt"))
