"""compile --schedule search, whole: a table of blocks, the loss of cuts, searched candidates, resuming."""

import json
import os
import shutil

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

import pomt_trt  # noqa: E402
from pomt_trt.core.errors import UsageError  # noqa: E402
from pomt_trt.core.records import (  # noqa: E402
    CHAIN,
    GRID,
    SEARCHED,
    BlockLatencies,
    BlockLatency,
    Family,
    LatencyProfile,
    ReductionLatency,
    Selection,
    Sensitivity,
)
from pomt_trt.core.schedules import block_costs  # noqa: E402
from pomt_trt.core.storage import store  # noqa: E402
from pomt_trt.core.storage.bundle import open_bundle  # noqa: E402
from pomt_trt.core.storage.workfolder import WorkFolder  # noqa: E402
from pomt_trt.device.board import board  # noqa: E402
from pomt_trt.device.board.sensors import Clock  # noqa: E402
from pomt_trt.device.timing.engine_records import Settings  # noqa: E402
from pomt_trt.pipeline.profile import forget_unsettled  # noqa: E402
from pomt_trt.pipeline.search import block_latency  # noqa: E402
from pomt_trt.pipeline.session import Scope, opened_on  # noqa: E402
from tests import compiled  # noqa: E402


@pytest.fixture(scope="module", params=["pomt", "tome"])
def searched(request, tmp_path_factory):
    """(command, work folder) of a finished search; any loss is allowed, so that the fastest wins."""
    work = tmp_path_factory.mktemp("search") / "work"
    layer = ["--layer", "1"] if request.param == "pomt" else []
    model = "local-dir:" + os.path.join(compiled.source(), "model")
    data = ["--data", os.path.join(compiled.source(), "data")]
    command = ["compile", model, *data, *layer, "--method", request.param, "--work", str(work), *compiled.TOKENS]
    command += [*compiled.TIMING, "--rule", "fastest-within", "--max-accuracy-drop", "100", "--min-gain", "0"]
    command += ["--schedule", "search", "--json"]
    code, out, err = compiled.called(*command)
    assert code == 0, err
    return command, WorkFolder(str(work)), json.loads(out)


def the(work, name, kind):
    """The one device's record."""
    device = os.path.basename(compiled.one(os.path.join(work.root, "latency"), ""))
    return store.read_record(getattr(work, name)(device), kind).record


def test_blocks_are_timed_at_every_count_asked_for_and_their_engines_are_gone(searched):
    _, work, _ = searched
    table = the(work, "blocks", BlockLatencies)
    assert {one.tokens for one in table.plain} == set(range(8, 18)) and all(one.ms > 0 for one in table.plain)
    assert 1 <= len(table.reducing) <= block_costs.STAIRCASES and table.depth == 4
    chains = store.read_record(work.chains(table.form), Family).record.candidates
    assert {one.kind for one in chains} == {CHAIN} and len(chains) == len(table.plain) + len(table.reducing) + 1
    assert 0 <= table.attention_share <= 1
    left = os.listdir(work.engines(table.device_id))
    assert not [name for name in left if name.startswith("c") and name.endswith(".engine")]


def test_the_loss_of_cuts_is_kept_with_the_accuracies(searched):
    _, work, _ = searched
    found = store.read_record(work.sensitivity(), Sensitivity).record
    assert len(found.kl) == 4 and found.counts[-1] == 8


def test_schedules_are_built_where_blocks_gain_by_fewer_tokens(tmp_path, capsys, monkeypatch):
    """With a table in place of the timed one: what this machine's blocks gain, in a model this small, is noise."""
    plain = tuple(BlockLatency(tokens, 0.01 * tokens, (0.01 * tokens,) * 2) for tokens in range(17, 7, -1))
    table = BlockLatencies(
        "d", "onnxruntime", "1", "op17-fp32", "pomt", 1, 4, plain, 0.5, (ReductionLatency(12.0, 0.0, ()),)
    )
    monkeypatch.setattr(block_latency, "measure", lambda *arguments: table)
    command = [*compiled.compile_command(tmp_path / "w"), "--schedule", "search", "--json"]
    code, out, err = compiled.call(capsys, *command)
    assert code == 0, err
    rows = [row for row in json.loads(out)["rows"] if row["schedule"]]
    assert len(rows) >= 3 and all(row["latency_ms"] > 0 and row["accuracy"] is not None for row in rows)


def test_searched_candidates_are_measured_and_shown_block_by_block(searched):
    _, work, selection = searched
    rows = [row for row in selection["rows"] if row["schedule"]]
    assert all(row["status"] == "measured" and row["accuracy"] is not None for row in rows)
    known = {count.tokens for count in the(work, "blocks", BlockLatencies).plain}
    for row in rows:
        tokens = row["schedule"]
        assert tokens[0] == 17 and len(tokens) == 5 and tokens == sorted(tokens, reverse=True)
        assert set(tokens) <= known and row["tokens_after"] == tokens[-1] and row["id"][0] == "s"
    family = store.read_record(work.family("op17-fp32"), Family).record
    assert [one.kind for one in family.candidates] == [GRID] * 4 + [SEARCHED] * len(rows)
    told = " ".join(selection["notes"])
    assert "{} of ".format(len(rows)) in told and ("predicted latencies are off" in told) == bool(rows)


def test_no_searched_candidate_repeats_one_of_the_grid(searched):
    _, work, _ = searched
    candidates = store.read_record(work.family("op17-fp32"), Family).record.candidates
    schedules = [one.schedule for one in candidates]
    assert len(set(schedules)) == len(schedules)


def test_the_bundle_holds_what_was_chosen_and_runs(searched):
    _, work, selection = searched
    folder = compiled.one(work.root, "bundle-")
    assert open_bundle(folder).candidate.id == selection["chosen"]["id"]
    picture = os.path.join(compiled.source(), "data", "0", "0.png")
    with pomt_trt.load(folder) as classifier:
        assert classifier([picture]).shape == (1, 5)


def test_a_second_run_changes_nothing(searched, capsys):
    command, work, selection = searched
    before = compiled.files(work.root)
    code, out, err = compiled.call(capsys, *command)
    assert code == 0 and json.loads(out) == selection and compiled.files(work.root) == before


def test_other_commands_know_the_searched_candidates(searched, capsys):
    command, work, selection = searched
    code, out, _ = compiled.call(capsys, "select", work.root, "--threads", "1", "--rule", "utility", "--json")
    assert code == 0 and [row["id"] for row in json.loads(out)["rows"]] == [row["id"] for row in selection["rows"]]
    code, out, err = compiled.call(capsys, "verify", work.root, "--json")
    assert code == 0, err
    assert selection["chosen"]["id"] in {check["candidate_id"] for check in json.loads(out)["checks"]}
    code, out, err = compiled.call(capsys, "report", work.root)
    assert code == 0, err
    with open(compiled.one(work.root, "curve-")) as file:
        assert [point["tokens"] for point in json.load(file)["points"]] == [17, 16, 12, 8]


def test_profiles_of_chains_go_with_that_of_r0_to_which_they_are_tied(searched, tmp_path):
    _, work, _ = searched
    copy = WorkFolder(shutil.copytree(work.root, str(tmp_path / "w")))
    device = os.path.basename(compiled.one(os.path.join(copy.root, "latency"), ""))
    stored = store.read_record(copy.latency(device, "r000"), LatencyProfile)
    store.write_record(copy.latency(device, "r000"), stored.record._replace(verdict="floating"), stored.inputs)
    still = Clock(1.0, 1.0, 1.0)
    with opened_on(Scope(copy.root), board.device_spec("onnxruntime"), Settings(threads=1)) as session:
        forget_unsettled(session, {"cpu": still, "gpu": still})
    assert os.listdir(copy.latencies(device)) == []


def test_without_the_search_they_do_not_compete(searched, capsys):
    command, work, _ = searched
    even = [word for word in command if word not in ("--schedule", "search")]
    code, out, _ = compiled.call(capsys, *even)
    assert code == 0 and [row["id"] for row in json.loads(out)["rows"]] == compiled.CANDIDATES
    assert store.read_record(compiled.one(work.root, "selection-", ".json"), Selection).record.chosen.schedule is None


def test_a_method_without_blocks_is_refused_before_anything_is_made(tmp_path, capsys):
    work = tmp_path / "w"
    code, _, err = compiled.call(
        capsys, "compile", "digits", "--method", "random", "--schedule", "search", "--work", work
    )
    assert code == 2 and "random removes nothing within them. Use --method pomt, topk or tome" in err
    assert not (work / "experiment.json").exists()


def test_in_python_too_it_is_a_keyword_with_two_values(tmp_path):
    with pytest.raises(UsageError, match="--schedule is 'beam'; give even or search"):
        pomt_trt.compile_model("digits", work=str(tmp_path / "w"), schedule="beam")


def test_a_grid_of_nothing_but_r0_has_no_schedules(tmp_path, capsys):
    work = tmp_path / "w"
    command = ["compile", *compiled.experiment(), "--tokens", "17:17:1", "--work", work, *compiled.TIMING]
    code, out, _ = compiled.call(capsys, *command, "--schedule", "search", "--json")
    assert code == 0 and "nothing but R = 0" in " ".join(json.loads(out)["notes"])
