"""What a work folder holds is believed only as long as it was made from what is there now."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pomt_trt.core.errors import InputError, StaleArtifact, UsageError
from pomt_trt.core.records import SEARCHED, AccuracyEstimate, Candidate, ClassOrder, Experiment, Family, Request
from pomt_trt.core.schedules import schedule
from pomt_trt.core.storage import experiment as known
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WorkFolder
from tests import fakes

FORM = "op13-fp32"
REQUEST = Request("quadrants", None, None, False, None, None, None, "topk", 0, 1, None, 16, 0)
EXPERIMENT = Experiment(REQUEST, fakes.quadrant_model(), "labelled", "top1", 16)
ESTIMATE = AccuracyEstimate("r004", "top1", 16, 0.75, (0.5, 0.9), 0.25, (0.1, 0.4), 0.1)


def spec_of(tokens, prefix_tokens):
    return fakes.quadrant_model()._replace(patch_tokens=tokens - prefix_tokens, prefix_tokens=prefix_tokens)


def written(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    return store.sha256_of(path)


@pytest.fixture
def work(tmp_path):
    """A work folder with an experiment and the graphs of R = 0 and R = 4, made up."""
    work = WorkFolder(str(tmp_path / "work"))
    store.write_record(work.experiment(), EXPERIMENT)
    candidates = (
        Candidate("topk", schedule.constant(17, 2, 1), 1),
        Candidate("topk", schedule.single_layer(17, 2, 1, 0, 4), 1),
    )
    hashes = {c.id: written(work.graph(FORM, c.id), c.id.encode()) for c in candidates}
    weights = written(work.weights(FORM), b"weights")
    family = Family(FORM, "jetpack-4.6.1", 13, 7, weights, 7, candidates, hashes)
    store.write_record(work.family(FORM), family, known.family_inputs(work))
    written(work.golden(), b"golden")
    return work


def test_a_folder_without_an_experiment_says_how_to_make_one(tmp_path):
    work = WorkFolder(str(tmp_path))
    with pytest.raises(InputError, match="holds no experiment. Make one: pomt-trt export MODEL --work"):
        known.experiment_of(work)
    assert known.checked_experiment(work, REQUEST) is None


def test_the_same_request_finds_its_experiment(work):
    assert known.experiment_of(work) == known.checked_experiment(work, REQUEST) == EXPERIMENT


@pytest.mark.parametrize("name", Request._fields)
def test_another_request_is_refused_with_both_values(work, name):
    asked = REQUEST._replace(**{name: "another"})
    told = "another experiment: its {} is {}, you ask for another. Use another --work".format(
        name.replace("_", " "), getattr(REQUEST, name)
    )
    with pytest.raises(UsageError, match=told):
        known.checked_experiment(work, asked)


def test_a_family_is_whole_as_long_as_every_file_is_what_was_written(work):
    assert known.whole_family(work, FORM, (17, 13)) == known.family_of(work, FORM)
    assert known.whole_family(work, FORM, (17, 13, 9)) is None  # never exported
    assert known.whole_family(work, "op17-fp32", (17,)) is None


@pytest.mark.parametrize("content", [None, b"w"])
@pytest.mark.parametrize("name", ["r004.onnx", "weights.bin", "family.json"])
def test_a_family_with_a_file_missing_or_damaged_is_not_whole(work, name, content):
    path = os.path.join(work.onnx(FORM), name)
    os.unlink(path) if content is None else written(path, content)
    assert known.whole_family(work, FORM, (17, 13)) is None


def test_a_family_without_golden_inputs_is_not_whole(work):
    os.unlink(work.golden())
    assert known.whole_family(work, FORM, (17, 13)) is None


def test_a_family_of_another_experiment_is_stale(work):
    store.write_record(work.experiment(), EXPERIMENT._replace(images=8))
    with pytest.raises(StaleArtifact, match="family.json was made from another experiment.json. Export again"):
        known.family_of(work, FORM)
    assert known.whole_family(work, FORM, (17, 13)) is None


def test_all_forms_of_todays_experiment_are_found_and_no_others(work):
    family = known.family_of(work, FORM)
    other = family._replace(form="op17-fp16", precision="fp16")
    store.write_record(work.family("op17-fp16"), other, known.family_inputs(work))
    store.write_record(work.family("op17-fp32"), family._replace(form="op17-fp32"), {"experiment": "another"})
    assert known.families(work) == [family, other]


def test_an_accuracy_counts_with_its_arrays_and_for_todays_model_only(work):
    family = known.family_of(work, FORM)
    inputs = known.accuracy_inputs(family, "r004")
    assert known.accuracy_of(work, family, "r004") is None
    store.write_record(work.accuracy("r004"), ESTIMATE, inputs)
    assert known.accuracy_of(work, family, "r004") is None  # killed before the arrays were written
    written(work.accuracy_arrays("r004"), b"arrays")
    assert known.accuracy_of(work, family, "r004") == ESTIMATE
    assert known.accuracy_of(work, family._replace(model_sha256="other"), "r004") is None
    other = Candidate("topk", schedule.single_layer(17, 2, 1, 1, 4), 1)
    assert known.accuracy_of(work, family._replace(candidates=(other,)), "r004") is None


def test_all_forms_of_a_model_have_their_accuracies_in_common(work):
    family = known.family_of(work, FORM)
    store.write_record(work.accuracy("r004"), ESTIMATE, known.accuracy_inputs(family, "r004"))
    written(work.accuracy_arrays("r004"), b"arrays")
    candidates = tuple(candidate._replace(precision="fp16") for candidate in family.candidates)
    other = family._replace(form="op17-fp16", weights_sha256="fp16", candidates=candidates, precision="fp16")
    assert known.accuracy_of(work, other, "r004") == ESTIMATE


def test_a_grid_without_a_range_is_every_count_down_to_a_quarter():
    assert known.counts(spec_of(197, 1), "pomt", None) == tuple(range(197, 48, -1))
    assert known.counts(spec_of(17, 1), "topk", None) == tuple(range(17, 3, -1))
    assert known.counts(spec_of(17, 1), "none", None) == (17,)


@given(st.integers(3, 300), st.integers(0, 2))
def test_every_default_grid_starts_with_the_model_and_can_be_scheduled(tokens, prefix_tokens):
    counts = known.counts(spec_of(tokens, prefix_tokens), "topk", None)
    assert counts[0] == tokens
    for count in counts:
        assert schedule.even(tokens, 2, prefix_tokens, tokens - count).tokens_after == count


def test_a_range_chooses_among_the_familys_candidates_with_r0_first(work):
    family = known.family_of(work, FORM)
    assert [c.id for c in known.grid(EXPERIMENT, family, None)] == ["r000", "r004"]
    assert [c.id for c in known.grid(EXPERIMENT, family, "13:13:1")] == ["r000", "r004"]
    assert [c.id for c in known.grid(EXPERIMENT, family, "17:14:4")] == ["r000"]


def test_a_count_that_was_not_exported_is_refused_with_what_was(work):
    with pytest.raises(UsageError, match="asks for 12 tokens.* exported as op13-fp32.*17 to 13, or export them first"):
        known.grid(EXPERIMENT, known.family_of(work, FORM), "13:11:1")


def add_searched(work, tokens=(17, 15, 11)):
    """Puts a searched candidate with a made-up graph into the family; returns it."""
    family = known.family_of(work, FORM)
    one = Candidate("topk", schedule.Schedule(tokens, 1), 1, kind=SEARCHED)
    hashes = dict(family.graph_sha256, **{one.id: written(work.graph(FORM, one.id), b"searched")})
    family = family._replace(candidates=family.candidates + (one,), graph_sha256=hashes)
    store.write_record(work.family(FORM), family, known.family_inputs(work))
    return one


def test_a_searched_candidate_is_named_by_its_schedule_and_is_no_count_of_the_grid(work):
    one, family = add_searched(work), known.family_of(work, FORM)
    assert one.id == Candidate("pomt", one.schedule, 4, kind=SEARCHED).id and one.id[0] == "s" and len(one.id) == 7
    assert one.id != Candidate("topk", schedule.Schedule((17, 15, 10), 1), 1, kind=SEARCHED).id
    assert [c.id for c in known.grid(EXPERIMENT, family, None)] == ["r000", "r004", one.id]
    assert [c.id for c in known.grid(EXPERIMENT, family, "13:13:1")] == ["r000", "r004"]
    assert known.whole_family(work, FORM, (17, 11)) is None and known.whole_family(work, FORM, (17, 13)) == family
    with pytest.raises(UsageError, match="asks for 11 tokens, but no such graph"):
        known.grid(EXPERIMENT, family, "11:11:1")


def test_a_family_made_anew_keeps_the_searched_candidates_that_are_whole(work):
    kept, damaged = add_searched(work), add_searched(work, (17, 14, 9))
    written(work.graph(FORM, damaged.id), b"something else")
    whole = known.family_of(work, FORM)
    anew = whole._replace(candidates=whole.candidates[:2], graph_sha256={})
    found = known.with_searched(work, anew)
    assert found.candidates == whole.candidates[:2] + (kept,) and set(found.graph_sha256) == {kept.id}
    assert known.with_searched(work, anew._replace(weights_sha256="others")).candidates == anew.candidates


def order(reading, *names):
    return ClassOrder(reading, "folder", len(names), names)


def test_an_experiment_is_written_once_and_one_of_0_2_is_left_as_it_is(work):
    before = os.stat(work.experiment()).st_mtime_ns
    known.write_experiment(work, EXPERIMENT)
    known.write_experiment(work, EXPERIMENT._replace(class_order=order("natural", "a", "b")))
    assert os.stat(work.experiment()).st_mtime_ns == before and known.experiment_of(work) == EXPERIMENT
    known.write_experiment(work, EXPERIMENT._replace(images=17))
    assert known.experiment_of(work).images == 17


@pytest.mark.parametrize(
    "there, now, fits",
    [
        (order("natural", "c2", "c10"), order("natural", "c2", "c10"), True),
        (order("natural", "c2", "c10"), order("string", "c10", "c2"), False),
        (order("natural", "c2", "c10"), order("natural", "c2", "c11"), False),
        (order("numbers", "0", "1"), order("numbers", "0", "1", "2"), True),
        (order("numbers", "0", "1"), order("labels", "1", "0"), False),
        (None, order("numbers", "2", "10"), True),
        (None, order("natural", "c2", "c10"), False),
        (None, order("natural", "cat", "dog"), True),
    ],
)
def test_classes_in_another_order_than_before_are_refused(work, there, now, fits):
    store.write_record(work.experiment(), EXPERIMENT._replace(class_order=there))
    known.check_class_order(work, None)
    if fits:
        known.check_class_order(work, now)
    else:
        with pytest.raises(StaleArtifact, match="was made with classes in the order .*Use another --work folder"):
            known.check_class_order(work, now)
