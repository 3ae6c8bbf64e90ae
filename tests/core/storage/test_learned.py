"""Where learned parameters lie, and what is said where there are none."""

import os

import pytest

from pomt_trt.core.errors import InputError
from pomt_trt.core.storage import learned


def test_methods_that_learn_nothing_have_no_file():
    assert learned.file_of("digits", "pomt") is None


def test_a_models_folder_holds_one_file_a_method(tmp_path):
    path = tmp_path / "ltmp.safetensors"
    path.write_bytes(b"")
    assert learned.file_of("local-dir:{}".format(tmp_path), "ltmp") == str(path)
    assert os.path.isfile(os.path.join(learned.ZOO, "digits", "config.json"))


def test_the_record_of_a_training_lies_beside_what_it_made(tmp_path):
    (tmp_path / "ltmp.safetensors").write_bytes(b"")
    model = "local-dir:{}".format(tmp_path)
    assert learned.record_of(model, "ltmp") is None and learned.record_of(model, "pomt") is None
    (tmp_path / "ltmp.json").write_bytes(b"{}")
    assert learned.record_of(model, "ltmp") == str(tmp_path / "ltmp.json")


@pytest.mark.parametrize("method, what", [("ltmp", "thresholds"), ("cropr", "scorers")])
def test_a_model_without_its_file_is_refused_with_the_command_that_makes_it(tmp_path, method, what):
    model = "local-dir:{}".format(tmp_path)
    with pytest.raises(InputError) as refused:
        learned.file_of(model, method)
    assert str(refused.value) == (
        "{0} needs learned {1}, and {2} has none. Train them: pomt-trt train {0} {3} --data DIR --work T; then compile "
        "local-dir:T".format(method, what, tmp_path, model)
    )
    with pytest.raises(InputError, match="and deit_tiny has none. .* pomt-trt train {} deit_tiny".format(method)):
        learned.file_of("deit_tiny", method)
