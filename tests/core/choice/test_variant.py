"""How variants are named."""

import pytest

from pomt_trt.core.choice.variant import Variant, variants_by_id
from pomt_trt.core.records import Candidate
from pomt_trt.core.schedules import schedule

CANDIDATES = [Candidate("topk", schedule.single_layer(197, 12, 1, 3, removed), 1) for removed in (0, 56)]


def ids(*kinds):
    return list(variants_by_id([Variant(candidate, *kind) for kind in kinds for candidate in CANDIDATES]))


def test_of_one_precision_and_one_engine_library_they_have_the_ids_of_their_candidates():
    assert ids(("fp16", "tensorrt")) == ["r000", "r056"] and variants_by_id([]) == {}


@pytest.mark.parametrize("other", [("fp32", "tensorrt"), ("fp16", "onnxruntime")])
def test_where_precision_or_engine_library_differ_both_are_named(other):
    first = ["r000-fp16-tensorrt", "r056-fp16-tensorrt"]
    assert ids(("fp16", "tensorrt"), other) == first + ["-".join([name, *other]) for name in ("r000", "r056")]


def test_the_id_leads_to_the_variant():
    variant = Variant(CANDIDATES[1], "fp16", "tensorrt")
    assert variants_by_id([variant]) == {"r056": variant}


def test_one_given_twice_is_refused():
    with pytest.raises(ValueError, match="2 variants have 1 different ids"):
        variants_by_id([Variant(CANDIDATES[0], "fp16", "tensorrt")] * 2)
