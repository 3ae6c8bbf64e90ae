"""Kits for boards on the command line, and reports of what boards sent."""

import json
import os

import pytest

pytest.importorskip("torch", reason="exports a model, which belongs to the workstation")

from pomt_trt.core.field_kit import archive_file  # noqa: E402
from pomt_trt.core.field_kit.archive_file import Archive  # noqa: E402
from pomt_trt.core.field_kit.records import Kit  # noqa: E402
from pomt_trt.core.storage import store  # noqa: E402
from pomt_trt.core.storage.experiment import experiment_of, families, of_grid  # noqa: E402
from pomt_trt.core.storage.workfolder import WorkFolder  # noqa: E402
from pomt_trt.pipeline.tasks import kits  # noqa: E402
from tests import compiled, field  # noqa: E402
from tests.compiled import call, files  # noqa: E402


@pytest.fixture
def tiny(monkeypatch):
    """Has kits made of the tiny model."""
    model = "local-dir:" + os.path.join(compiled.source(), "model")
    make = kits.make
    monkeypatch.setattr(kits, "make", lambda folder, target: make(folder, target, {"tiny": model}, "8:8:1"))


def test_a_kit_holds_graphs_in_both_precisions_and_what_engines_are_held_against(tiny, tmp_path, capsys):
    kit = str(tmp_path / "kit")
    code, out, _ = call(capsys, "field-kit", "--target", "jetpack-6.2", "--out", kit)
    assert code == 0 and "tiny for jetpack-6.2" in out and "jetson/field_kit " + kit in out
    assert store.read_record(os.path.join(kit, "kit.json"), Kit).record == Kit("jetpack-6.2", ("tiny",))
    work = WorkFolder(os.path.join(kit, "tiny"))
    assert work.forms() == ["op17-fp16", "op17-fp32"] and experiment_of(work).images > 0
    for family in families(work):
        assert [candidate.schedule.removed for candidate in of_grid(family)] == [0, 9]
        assert all(os.path.isfile(work.accuracy_arrays(candidate.id)) for candidate in family.candidates)
    before = files(kit)
    code, out, _ = call(capsys, "field-kit", "--target", "jetpack-6.2", "--out", kit, "--json")
    assert code == 0 and json.loads(out) == {"target": "jetpack-6.2", "models": ["tiny"]}
    assert {name for name, was in files(kit).items() if before[name] != was} <= {"kit.json", "tiny/.lock"}


def test_the_models_of_a_kit_are_known_and_cut_where_they_can_be():
    from pomt_trt.core.schedules.schedule import parse_range
    from pomt_trt.host.models import loading

    for name in kits.MODELS.values():
        spec = loading.load(name).spec
        assert spec.tokens == 197 and spec.prefix_tokens < parse_range(kits.TOKENS)[0] < spec.tokens


def test_a_target_that_is_no_board_is_a_usage_error(tmp_path, capsys):
    code, _, err = call(capsys, "field-kit", "--target", "onnxruntime", "--out", tmp_path / "kit")
    assert code == 2 and "invalid choice" in err and not os.listdir(str(tmp_path))


@pytest.fixture
def archive(tmp_path):
    """Writes an archive of a run."""

    def write(run):
        path = str(tmp_path / "run.tar.gz")
        archive_file.write(path, Archive(run, {}))
        return path

    return write


def test_a_report_of_a_board_on_which_all_held_exits_with_0(archive, capsys):
    code, out, err = call(capsys, "field-report", archive(field.collected()))
    assert code == 0 and "held  digits fp16 R = 0 is built" in out and not err


def test_a_report_of_a_board_on_which_something_did_not_hold_exits_with_7(archive, capsys):
    path = archive(field.collected()._replace(ratios=()))
    code, out, err = call(capsys, "field-report", path)
    assert code == 7 and "not   digits is timed as trtexec times it" in out and "1 of 39 things did not hold" in err
    code, out, _ = call(capsys, "field-report", path, "--json")
    assert code == 7 and {line["state"] for line in json.loads(out)["lines"]} == {"held", "not"}
