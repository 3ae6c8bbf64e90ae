"""What is chosen among: a candidate with the precision and the engine library that run it."""

from typing import Dict, NamedTuple, Sequence

from pomt_trt.core.records import Candidate


class Variant(NamedTuple):
    """One way to run the model: which tokens are removed, in which precision, by which engine library."""

    candidate: Candidate
    precision: str  # one of core/targets.PRECISIONS
    engine: str  # one of core/targets.ENGINES


def variants_by_id(variants: Sequence[Variant]) -> Dict[str, Variant]:
    """Variants by their ids, in the given order.

    The id is that of the candidate (r056) where all have one precision and one engine library. Otherwise precision and
    engine library follow it: r056-fp16-tensorrt.

    Raises: ValueError where a variant is given twice.
    """
    is_one_kind = len({(variant.precision, variant.engine) for variant in variants}) <= 1
    by_id = {_id(variant, is_one_kind): variant for variant in variants}
    if len(by_id) < len(variants):
        raise ValueError("{} variants have {} different ids".format(len(variants), len(by_id)))
    return by_id


def _id(variant: Variant, is_one_kind: bool) -> str:
    candidate_id = variant.candidate.id
    return candidate_id if is_one_kind else "-".join([candidate_id, variant.precision, variant.engine])
