"""host/models/heads, through loading.load: what outputs mean, and their names."""

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
    "one output": ({"num_classes": 1}, "has one output, .*Say which: --task binary .*or --task regression"),
    "features of patches": ({"num_classes": 0, "global_pool": ""}, "gives features of each patch, and only classes"),
    "one class of patches": ({"num_classes": 1, "global_pool": ""}, "gives one output of each patch"),
    "more classes of patches than a byte": ({"num_classes": 256, "global_pool": ""}, "255 classes at most"),
}
ACCEPTED = {  # what the model has, and what is asked for -> task and outputs
    "classes": ({"num_classes": 5}, "auto", "classification", 5),
    "classes by name": ({"num_classes": 5}, "classification", "classification", 5),
    "no head": ({"num_classes": 0}, "auto", "features", 24),
    "a head that is taken off": ({"num_classes": 5}, "features", "features", 24),
    "one output, a probability": ({"num_classes": 1}, "binary", "binary", 1),
    "one output, a value": ({"num_classes": 1}, "regression", "regression", 1),
    "several labels": ({"num_classes": 5}, "multilabel", "multilabel", 5),
    "values": ({"num_classes": 5}, "regression", "regression", 5),
    "patches": ({"num_classes": 5, "global_pool": ""}, "auto", "segmentation", 5),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_outputs_whose_meaning_is_not_known_are_refused(kind):
    changes, reason = REFUSED[kind]
    with pytest.raises(InputError, match=reason):
        load(tiny.vit(**changes))


@pytest.mark.parametrize("kind", ACCEPTED)
def test_the_task_follows_from_the_head_and_from_what_is_asked_for(kind):
    changes, wanted, task, outputs = ACCEPTED[kind]
    module, spec = load(tiny.vit(**changes), task=wanted)
    with torch.no_grad():
        assert (spec.task, spec.classes, module(torch.zeros(1, 3, 16, 16)).shape[-1]) == (task, outputs, outputs)
    assert spec.labels == ()


@pytest.mark.parametrize(
    "outputs, task, said",
    [
        (0, "binary", r"has no classifier \(num_classes = 0\), and --task binary needs one output. Give another"),
        (0, "multilabel", "needs a head"),
        (1, "classification", "has one output, and --task classification needs two or more classes"),
        (5, "binary", "has 5 outputs, and --task binary needs one output"),
    ],
)
def test_a_task_that_does_not_fit_the_head_is_refused(outputs, task, said):
    with pytest.raises(InputError, match=said):
        load(tiny.vit(num_classes=outputs), task=task)
    with pytest.raises(InputError, match="has an output for each patch, and --task regression is about whole images"):
        load(tiny.vit(global_pool=""), task="regression")


@pytest.mark.parametrize("kind", REFUSED)
def test_reduce_tokens_needs_no_head(kind):
    model = tiny.vit(**REFUSED[kind][0])
    image = torch.zeros(1, 3, 16, 16)
    with torch.no_grad():
        assert pomt_trt.reduce_tokens(model, "tome", removed=0)(image).shape[1] in (24, 1, 256)


def test_features_of_a_model_with_dinov2s_linear_head_are_its_class_token(tmp_path):
    with_head, image = tiny.dinov2(tmp_path), torch.zeros(1, 3, 16, 16)
    module, spec = load(with_head, task="features")
    with torch.no_grad():
        assert torch.equal(module(image), with_head.forward_features(image)[:, 0]) and spec.classes == 24


def test_several_heads_are_refused_by_name(tmp_path):
    state = tiny.vit().state_dict()
    for name in ("heads.age", "heads.sex"):
        state.update({f"{name}.weight": state["head.weight"], f"{name}.bias": state["head.bias"]})
    torch.save({name: value for name, value in state.items() if not name.startswith("head.")}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"has several heads \(heads.age, heads.sex\), .*Save the one that you want"):
        load(tiny.vit(), checkpoint=str(tmp_path / "w.pth"))


def test_a_backbone_alone_fills_a_model_for_features(tmp_path):
    source = tiny.vit(num_classes=0)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    module, spec = load(tiny.vit(num_classes=7), checkpoint=str(tmp_path / "w.pth"), task="features")
    assert torch.equal(module.norm.weight, source.norm.weight) and spec.classes == 24


def folder(tmp_path, classes=5, **changes):
    """local-dir:PATH of a model whose config.json is changed after it was written."""
    compiled.write_model(str(tmp_path / "model"), classes)
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return f"local-dir:{tmp_path / 'model'}"


@pytest.mark.parametrize("command", ["export", "compile", "compare", "train ltmp", "train cropr --removed 1"])
def test_every_command_that_takes_a_model_asks_what_one_output_is(command, tmp_path, capsys):
    name = folder(tmp_path, 1)
    code, out, err = compiled.call(capsys, *command.split(), name, "--work", tmp_path / "work")
    assert (code, out) == (3, "") and "has one output, which may be a probability or a value" in err.splitlines()[-1]
    assert not (tmp_path / "work" / "experiment.json").exists()


@pytest.mark.parametrize("command", ["train ltmp", "train cropr --removed 1"])
def test_a_training_needs_classes(command, tmp_path, capsys):
    name = folder(tmp_path, 0)
    code, out, err = compiled.call(capsys, *command.split(), name, "--work", tmp_path / "work")
    assert (code, out) == (3, "") and "is for features, and a method is trained with classes" in err.splitlines()[-1]


def test_a_module_given_in_python_is_asked_likewise(tmp_path):
    with pytest.raises(InputError, match="VisionTransformer has one output"):
        pomt_trt.compile_model(tiny.vit(num_classes=1), work=str(tmp_path / "work"))


@pytest.mark.parametrize(
    "problem, classes, task",
    [
        ("multi_label_classification", 5, "multilabel"),
        ("regression", 5, "regression"),
        ("regression", 1, "regression"),
        ("multi_label_classification", 1, "binary"),
        ("single_label_classification", 1, "binary"),
    ],
)
def test_the_configuration_may_say_what_outputs_are(problem, classes, task, tmp_path):
    assert load(folder(tmp_path, classes, problem_type=problem)).spec.task == task
    module = tiny.vit(num_classes=classes)
    module.pretrained_cfg = {"problem_type": problem}
    assert load(module).spec.task == task


def test_a_configuration_of_an_unknown_problem_is_refused_unless_a_task_is_given(tmp_path):
    name = folder(tmp_path, problem_type="ranking")
    with pytest.raises(
        InputError, match="says problem_type = ranking; known are single_label.*Say what its outputs are"
    ):
        load(name)
    assert load(name, task="multilabel").spec.task == "multilabel"


def test_a_configuration_of_one_class_an_image_is_taken(tmp_path):
    assert load(folder(tmp_path, problem_type="single_label_classification")).spec.classes == 5


def test_a_head_takes_the_place_of_one_that_cannot_be_used(tmp_path):
    path = str(tmp_path / "head.pth")
    torch.save({"weight": torch.zeros(3, 48), "bias": torch.zeros(3)}, path)
    assert load(folder(tmp_path, problem_type="regression"), head=path).spec.classes == 3


@pytest.mark.parametrize("text", ["", "[1]", '{"pretrained_cfg": 3}'])
def test_a_configuration_that_is_none_says_nothing(text, tmp_path):
    (tmp_path / "config.json").write_text(text)
    assert heads.problem_of(heads.configuration_in(tmp_path)) is None


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
