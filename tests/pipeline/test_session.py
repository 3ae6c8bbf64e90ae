"""What a session says of the variants in a work folder, and which of the graphs a device gets."""

import os
import shutil

import pytest

pytest.importorskip("torch", reason="compiles a model, which belongs to the workstation")

from pomt_trt.core.errors import InputError, UsageError, WorkFolderUnusable
from pomt_trt.core.records import SEARCHED, AccuracyEstimate, Builds, Candidate, Engine, LatencyProfile, Schedule
from pomt_trt.core.storage import store
from pomt_trt.device.board import board
from pomt_trt.device.timing.worker_protocol import Settings
from pomt_trt.pipeline.session import Scope, form_for, opened, opened_on
from tests import compiled, fakes

HERE = fakes.DEVICE._replace(engine="onnxruntime", engine_version="1.31.1")
TX2 = fakes.DEVICE._replace(engine="tensorrt", engine_version="8.2.1.8")
ORIN = fakes.DEVICE._replace(engine="tensorrt", engine_version="10.3.0")


@pytest.mark.parametrize(
    "device, forms, precision, chosen",
    [
        (HERE, ["op13-fp32", "op17-fp32"], None, "op17-fp32"),
        (HERE, ["op17-fp16"], None, "op17-fp16"),
        (HERE, ["op17-fp16", "op17-fp32"], "fp32", "op17-fp32"),
        (TX2, ["op13-fp16", "op17-fp16", "op17-fp32"], None, "op13-fp16"),
        (ORIN, ["op13-fp16", "op17-fp16", "op17-fp16w"], None, "op17-fp16"),
        (ORIN, ["op13-fp32", "op17-fp16"], "fp32", "op13-fp32"),
        (ORIN, ["op17-fp32", "op17-bf16"], "bf16", "op17-bf16"),
        (HERE, ["op17-fp32", "op17-bf16"], None, "op17-fp32"),
    ],
)
def test_a_device_gets_what_it_runs_best_of_the_precision_asked_for_or_there(device, forms, precision, chosen):
    assert form_for(forms, device, precision) == chosen


def test_where_both_precisions_are_there_one_has_to_be_named():
    with pytest.raises(UsageError, match="op17-fp32.*op17-fp16.*Say which are meant: --precision fp32 or fp16"):
        form_for(["op17-fp16", "op17-fp32"], HERE)
    with pytest.raises(UsageError, match="Say which are meant: --precision fp32 or fp16 or bf16"):
        form_for(["op17-bf16", "op17-fp16", "op17-fp32"], ORIN)


@pytest.mark.parametrize("device, reason", [(TX2, "TensorRT 8.2 has no bf16"), (HERE, "no arithmetic in bf16")])
def test_bf16_is_refused_where_nothing_computes_in_it(device, reason):
    with pytest.raises(UsageError, match="--precision bf16 is not for .*" + reason):
        form_for(["op17-bf16"], device, "bf16")


def test_where_no_graph_can_be_read_the_export_that_makes_them_is_told():
    told = "jetpack-4.6.1 reads op13-fp16. Export them: .* --target jetpack-4.6.1 --precision fp16"
    with pytest.raises(UsageError, match=told):
        form_for(["op17-fp16", "op13-fp32"], TX2, "fp16")


SETTINGS = Settings(threads=1)


@pytest.fixture
def session(work):
    with opened_on(Scope(work), board.device_spec("onnxruntime"), SETTINGS) as session:
        yield session


def rewrite(path, kind, **changes):
    """Changes a record on the disk."""
    stored = store.read_record(path, kind)
    store.write_record(path, stored.record._replace(**changes), stored.inputs)


def test_it_has_a_row_for_each_variant_with_r0_first(session):
    rows = session.rows()
    assert [row.id for row in rows] == list(session.variants) == compiled.CANDIDATES
    assert {row.status for row in rows} == {"measured"} and rows[0].removed == 0
    for row in rows:
        assert (
            row.latency_ms == session.latency(row.id).latency_ms and row.accuracy == session.accuracy(row.id).accuracy
        )
        assert session.latency(row.id).engine_sha256 == session.engine(row.id).sha256


def test_its_variants_name_the_precision_and_the_engine_library(session):
    variant = session.variants["r005"]
    assert (variant.candidate.id, variant.precision, variant.engine) == ("r005", "fp32", "onnxruntime")


@pytest.mark.parametrize("kind", ["latency", "accuracy"])
def test_a_record_is_read_once_until_it_is_renewed(session, kind):
    paths = {"latency": session.work.latency(session.device.id, "r005"), "accuracy": session.work.accuracy("r005")}
    ask = getattr(session, kind)
    before = ask("r005")
    changes = {"latency": (LatencyProfile, {"latency_ms": 99.0}), "accuracy": (AccuracyEstimate, {"accuracy": 0.125})}
    rewrite(paths[kind], changes[kind][0], **changes[kind][1])
    session.renew(["r001"])
    assert ask("r005") is before
    session.renew(["r005"])
    assert ask("r005") == before._replace(**changes[kind][1])


def test_what_a_session_knows_is_shared_with_its_narrowed_part(session):
    part = session.narrowed(["r005"])
    assert list(part.variants) == ["r000", "r005"] and part.unreduced == session.unreduced
    assert part.latency("r005") is session.latency("r005") and part.accuracy("r005") is session.accuracy("r005")


def test_an_engine_of_another_graph_is_stale_and_so_is_its_latency(session):
    path = session.work.engine_record(session.device.id, "r005")
    store.write_record(path, session.engine("r005"), {"onnx": "another"})
    session.renew()
    assert session.engine("r005") is None and session.latency("r005") is None and session.failure("r005") is None
    assert session.row("r005").status == "not-built" and session.row("r001").status == "measured"


def test_a_latency_at_another_setting_is_stale_and_the_engine_is_not(work):
    paced = SETTINGS._replace(pace_fps=30.0)
    with opened_on(Scope(work), board.device_spec("onnxruntime"), paced) as session:
        assert session.engine("r005") is not None and session.latency("r005") is None


def test_a_point_has_the_latencies_of_all_builds(session):
    latency_ms, device_id = session.latency("r005").latency_ms, session.device.id
    assert session.point("r005").builds_ms == (latency_ms,)
    stored = store.read_record(session.work.engine_record(device_id, "r005"), Engine)
    others = Builds("r005", device_id, (7.0, float("nan")))
    store.write_record(session.work.builds(device_id, "r005"), others, stored.inputs)
    session.renew(["r005"])
    assert session.point("r005").builds_ms == (latency_ms, 7.0, float("inf"))


def test_an_added_candidate_is_a_variant_and_its_row_shows_its_blocks(session):
    schedule = Schedule((17, 12, 12, 8, 8), 1)
    searched = Candidate("pomt", schedule, 1, kind=SEARCHED)
    hashes = dict(session.graph_set.graph_sha256, **{searched.id: "0"})
    candidates = session.graph_set.candidates + (searched,)
    before = session.latency("r005")
    session.add([searched], session.graph_set._replace(candidates=candidates, graph_sha256=hashes))
    assert list(session.variants) == compiled.CANDIDATES + [searched.id] and session.latency("r005") is before
    assert session.row(searched.id).schedule == schedule.tokens and session.row(searched.id).status == "not-built"


@pytest.mark.parametrize("ask", ["candidate", "row", "engine", "latency", "accuracy", "failure", "builds_ms", "point"])
def test_an_id_that_it_lacks_is_refused_with_those_it_has(session, ask):
    with pytest.raises(UsageError, match="candidate 'r003' is not in .*It has r000 to r009"):
        getattr(session, ask)("r003")


def test_without_a_device_it_knows_accuracies(work):
    with opened(Scope(work, only=["r005"])) as session:
        assert list(session.variants) == ["r000", "r005"] and session.accuracy("r005").samples == 10


def test_a_folder_is_locked_while_a_session_is_open(work, session):
    with pytest.raises(WorkFolderUnusable, match="is in use by process {}".format(os.getpid())):
        with opened(Scope(work)):
            pass


def test_a_folder_without_graphs_says_how_to_make_them(work):
    shutil.rmtree(os.path.join(work, "onnx"))
    with pytest.raises(InputError, match="holds no graphs. Make them: pomt-trt export MODEL --work"):
        with opened(Scope(work)):
            pass
