"""`pomt-trt models`: what it says of a model is what loading says of it, and what reducing does with it."""

import json

import pytest
import timm

from pomt_trt.cli import main
from pomt_trt.core.errors import InputError, UsageError
from pomt_trt.host import reducers
from pomt_trt.host.models import loading, survey
from pomt_trt.host.models.token_reduction import reduce_tokens
from tests.host import shrunken


def surveyed(name):
    return next(survey.survey([name]))


@pytest.mark.parametrize(
    "name, methods",
    [
        ("vit_small_patch16_dinov3", set(reducers.METHODS)),
        ("vit_base_patch16_siglip_224", set(reducers.METHODS) - {"topk"}),
        ("vit_small_patch16_18x2_224", {"none", "random", "cropr"}),
    ],
)
def test_a_model_has_the_methods_that_reduce_it(name, methods):
    found = surveyed(name)
    assert found.reason is None and set(found.methods) == methods
    assert set(found.lacks) == set(reducers.METHODS) - methods
    for method in found.lacks:
        arguments = {"merged": [1, 0, 0], "pruned": [0] * 3} if method == "ltmp" else {"removed": 1}
        with pytest.raises((InputError, UsageError)):
            reduce_tokens(shrunken.made(name), method, **arguments)


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "resnet18", "cait_s24_224"])
def test_a_model_that_is_refused_is_refused_by_loading_too(name):
    found = surveyed(name)
    assert found.methods == () and f"timm's {found.family} builds none of VisionTransformer" in found.reason
    with pytest.raises(InputError):
        loading.load(name)


def test_a_pattern_chooses_names_as_a_shell_does_and_one_of_no_name_is_an_error():
    assert survey.names_like("deit3_small*") == timm.list_models("deit3_small*")
    assert len(survey.names_like(None)) == len(timm.list_models())
    with pytest.raises(InputError, match=f"timm {timm.__version__} has no model like 'vit_smal_x'.*Give one like"):
        survey.names_like("vit_smal_x")


def test_the_command_prints_a_line_a_model_and_json_for_machines(capsys):
    assert main(["models", "vit_tiny_patch16_[2d]*"]) == 0
    text = capsys.readouterr().out
    assert "vit_tiny_patch16_224          all methods" in text and text.endswith("of 2 accepted\n")
    assert main(["models", "*_tiny_patch4_window7_224", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == timm.list_models("*_tiny_patch4_window7_224")
    assert rows[0]["family"] == "swin_transformer" and rows[0]["methods"] == []
    assert main(["models", "nothing*"]) == 3
