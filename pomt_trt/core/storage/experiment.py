"""What a work folder already holds: the experiment, its graphs, its accuracies, and the grid of candidates.

Makes records from files, each checked against what it was made from. Any machine. Leaves out engines and latencies,
which belong to a device (device/timing/profiling).
"""

import os
from typing import Dict, List, Optional, Tuple

from pomt_trt.core.data.class_order import BY_PLACE
from pomt_trt.core.errors import InputError, StaleArtifact, UsageError
from pomt_trt.core.records import (
    GRID,
    SEARCHED,
    AccuracyEstimate,
    Candidate,
    ClassOrder,
    Experiment,
    Family,
    ModelSpec,
    Request,
)
from pomt_trt.core.schedules import schedule
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WorkFolder


def experiment_of(work: WorkFolder) -> Experiment:
    """What the folder is about.

    Raises: InputError if nothing was exported there.
    """
    if not os.path.isfile(work.experiment()):
        raise InputError("{0} holds no experiment. Make one: pomt-trt export MODEL --work {0}.".format(work.root))
    experiment: Experiment = store.read_record(work.experiment(), Experiment).record
    return experiment


def checked_experiment(work: WorkFolder, request: Request) -> Optional[Experiment]:
    """The folder's experiment; None if it has none yet.

    Raises: UsageError if it is another than the one asked for.
    """
    if not os.path.isfile(work.experiment()):
        return None
    experiment = experiment_of(work)
    for name in Request._fields:
        there, asked = getattr(experiment.request, name), getattr(request, name)
        if there != asked:
            raise UsageError(
                "{} holds another experiment: its {} is {}, you ask for {}. Use another --work folder.".format(
                    work.root, name.replace("_", " "), there, asked
                )
            )
    return experiment


def write_experiment(work: WorkFolder, made: Experiment) -> None:
    """Puts the record there, unless the folder has it already: all families are made from its very bytes.

    A record of 0.2 lacks the order of classes, and stays as it is.
    """
    if os.path.isfile(work.experiment()):
        there = experiment_of(work)
        if there._replace(class_order=there.class_order or made.class_order) == made:
            return
    store.write_record(work.experiment(), made)


def check_class_order(work: WorkFolder, order: Optional[ClassOrder]) -> None:
    """Raises StaleArtifact where accuracies in the folder were estimated with classes in another order than this.

    0.2 read names that are no label names, wnids or numbers in string order, and recorded none.
    """
    if order is None or not os.path.isfile(work.experiment()):
        return
    there = experiment_of(work).class_order
    if order.reading not in BY_PLACE and (there is None or there.reading == order.reading):
        return  # a name is its class, whatever other names there are
    before = tuple(sorted(order.names)) if there is None else there.names
    if before != order.names:
        raise StaleArtifact(
            "{} was made with classes in the order {}; now the data are read as {}. Use another --work folder.".format(
                work.root, ", ".join(before[:4]), ", ".join(order.names[:4])
            )
        )


def family_inputs(work: WorkFolder) -> Dict[str, str]:
    """What a family is made from."""
    return {"experiment": store.sha256_of(work.experiment())}


def family_of(work: WorkFolder, form: str) -> Family:
    """The graphs of one form.

    Raises: InputError if they were not exported; StaleArtifact if the experiment changed since.
    """
    stored = store.read_record(work.family(form), Family)
    if stored.inputs != family_inputs(work):
        raise StaleArtifact("{} was made from another experiment.json. Export again.".format(work.family(form)))
    family: Family = stored.record
    return family


def families(work: WorkFolder) -> List[Family]:
    """The graphs of all forms that were made from today's experiment."""
    found = [store.read_matching(work.family(form), Family, family_inputs(work)) for form in work.forms()]
    return [family for family in found if family is not None]


def whole_family(work: WorkFolder, form: str, counts: Tuple[int, ...]) -> Optional[Family]:
    """The graphs of one form if all candidates of these token counts are there and every file is what was written."""
    family = store.read_matching(work.family(form), Family, family_inputs(work))
    if family is None or not set(counts) <= {candidate.schedule.tokens_after for candidate in of_grid(family)}:
        return None
    files = {work.graph(form, name): digest for name, digest in family.graph_sha256.items()}
    files[work.weights(form)] = family.weights_sha256
    intact = all(is_file(path, digest) for path, digest in files.items())
    return family if intact and os.path.isfile(work.golden()) else None


def is_file(path: str, sha256: str) -> bool:
    """True where a file is there and is the one that was written."""
    return os.path.isfile(path) and store.sha256_of(path) == sha256


def of_grid(family: Family) -> List[Candidate]:
    """The candidates that R tells apart, R = 0 first; the others are searched."""
    return [candidate for candidate in family.candidates if candidate.kind == GRID]


def counts_there(work: WorkFolder, form: str) -> List[int]:
    """Token counts of a grid that the folder holds, which may be another than is asked for now."""
    if not os.path.isfile(work.experiment()):
        return []
    there = store.read_matching(work.family(form), Family, family_inputs(work))
    return [candidate.schedule.tokens_after for candidate in of_grid(there)] if there else []


def with_searched(work: WorkFolder, family: Family) -> Family:
    """A family that was made anew, and the searched candidates that the folder has of it, as far as they are whole."""
    there = store.read_matching(work.family(family.form), Family, family_inputs(work))
    if there is None or there.weights_sha256 != family.weights_sha256:
        return family
    hashes = {one: there.graph_sha256[one.id] for one in there.candidates if one.kind == SEARCHED}
    kept = {one: digest for one, digest in hashes.items() if is_file(work.graph(family.form, one.id), digest)}
    return family._replace(
        candidates=family.candidates + tuple(kept),
        graph_sha256=dict(family.graph_sha256, **{one.id: digest for one, digest in kept.items()}),
    )


def accuracy_inputs(family: Family, candidate_id: str) -> Dict[str, str]:
    """What an accuracy is made from: the fp32 model and a schedule. All forms have it in common."""
    tokens = next(c.schedule.tokens for c in family.candidates if c.id == candidate_id)
    return {"model": family.model_sha256, "tokens": " ".join(str(count) for count in tokens)}


def accuracy_of(work: WorkFolder, family: Family, candidate_id: str) -> Optional[AccuracyEstimate]:
    """A candidate's accuracy, if it was estimated for today's model."""
    if not os.path.isfile(work.accuracy_arrays(candidate_id)):
        return None
    return store.read_matching(work.accuracy(candidate_id), AccuracyEstimate, accuracy_inputs(family, candidate_id))


def counts(spec: ModelSpec, method: str, asked: Optional[str]) -> Tuple[int, ...]:
    """Token counts of a grid, descending, the model's own first.

    Args:
        asked: START:STOP:STEP; None is every count down to a quarter, or for the method none the model's own alone.
    """
    tokens, prefix_tokens = spec.tokens, spec.prefix_tokens
    if asked is None and method == "none":
        return (tokens,)
    if asked is None:
        start, stop, step = tokens - 1, max(prefix_tokens + 2, tokens // 4), 1
    else:
        start, stop, step = schedule.parse_range(asked)
    return tuple(schedule.grid(tokens, start, stop, step))


def grid(experiment: Experiment, family: Family, asked: Optional[str]) -> List[Candidate]:
    """The family's candidates of the counts asked for, R = 0 first; all of them where none are asked for, and then also
    those that a search of schedules has found.

    Raises: UsageError for a count that was not exported.
    """
    if asked is None:
        return list(family.candidates)
    wanted = set(counts(experiment.model, experiment.request.method, asked))
    missing = wanted - {candidate.schedule.tokens_after for candidate in of_grid(family)}
    if missing:
        raise UsageError(
            "--tokens {} asks for {} tokens, but no such graph was exported as {}. Choose from {}, or export them "
            "first: pomt-trt export MODEL --tokens {}.".format(
                asked, max(missing), family.form, _exported(family), asked
            )
        )
    return [candidate for candidate in of_grid(family) if candidate.schedule.tokens_after in wanted]


def _exported(family: Family) -> str:
    exported = [candidate.schedule.tokens_after for candidate in of_grid(family)]
    return "{} to {}".format(max(exported), min(exported))
