"""What a work folder holds whatever the device: the experiment, its graph sets, its accuracies, and the grid.

Each record is checked against what it was made from. device/timing/engine_records reads what belongs to a device.
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
    """The experiment that the folder holds. Raises: InputError if nothing was exported there."""
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
        recorded, wanted = getattr(experiment.request, name), getattr(request, name)
        if recorded != wanted:
            raise UsageError(
                "{} holds another experiment: its {} is {}, you ask for {}. Use another --work folder.".format(
                    work.root, name.replace("_", " "), recorded, wanted
                )
            )
    return experiment


def write_experiment(work: WorkFolder, experiment: Experiment) -> None:
    """Writes the record unless the folder has an equal one, since another file would make all graph sets stale.

    A record of 0.2, which lacks the order of classes, stays as it is.
    """
    if os.path.isfile(work.experiment()):
        recorded = experiment_of(work)
        if recorded._replace(class_order=recorded.class_order or experiment.class_order) == experiment:
            return
    store.write_record(work.experiment(), experiment)


def check_class_order(work: WorkFolder, order: Optional[ClassOrder]) -> None:
    """Raises StaleArtifact where accuracies in the folder were estimated with classes in another order.

    0.2 recorded no order. It took names in string order, unless they were label names, wnids or numbers.
    """
    if order is None or not os.path.isfile(work.experiment()):
        return
    recorded = experiment_of(work).class_order
    if order.reading not in BY_PLACE and (recorded is None or recorded.reading == order.reading):
        return  # a name alone says its class, whatever other names there are
    before = tuple(sorted(order.names)) if recorded is None else recorded.names
    if before != order.names:
        raise StaleArtifact(
            "{} was made with classes in the order {}; now the data are read as {}. Use another --work folder.".format(
                work.root, ", ".join(before[:4]), ", ".join(order.names[:4])
            )
        )


def family_inputs(work: WorkFolder) -> Dict[str, str]:
    """What a graph set is made from."""
    return {"experiment": store.sha256_of(work.experiment())}


def family_of(work: WorkFolder, form: str) -> Family:
    """The graphs of one form.

    Raises: InputError if they were not exported; StaleArtifact if the experiment changed since.
    """
    stored = store.read_record(work.family(form), Family)
    if stored.inputs != family_inputs(work):
        raise StaleArtifact("{} was made from another experiment.json. Export again.".format(work.family(form)))
    graph_set: Family = stored.record
    return graph_set


def families(work: WorkFolder) -> List[Family]:
    """The graphs of all forms that were made from today's experiment."""
    graph_sets = [_recorded_family(work, form) for form in work.forms()]
    return [graph_set for graph_set in graph_sets if graph_set is not None]


def whole_family(work: WorkFolder, form: str, counts: Tuple[int, ...]) -> Optional[Family]:
    """The graphs of one form if they have all these token counts and every file is what was written; else None."""
    graph_set = _recorded_family(work, form)
    if graph_set is None or not set(counts) <= set(_counts_of(graph_set)):
        return None
    files = {work.graph(form, name): sha256 for name, sha256 in graph_set.graph_sha256.items()}
    files[work.weights(form)] = graph_set.weights_sha256
    intact = all(is_file(path, sha256) for path, sha256 in files.items())
    return graph_set if intact and os.path.isfile(work.golden()) else None


def _recorded_family(work: WorkFolder, form: str) -> Optional[Family]:
    """The graphs of one form if they were made from today's experiment."""
    return store.read_matching(work.family(form), Family, family_inputs(work))


def is_file(path: str, sha256: str) -> bool:
    """True where a file is there and is the one that was written."""
    return os.path.isfile(path) and store.sha256_of(path) == sha256


def of_grid(graph_set: Family) -> List[Candidate]:
    """The candidates of the grid, one for each R, R = 0 first. The others of a graph set are searched."""
    return [candidate for candidate in graph_set.candidates if candidate.kind == GRID]


def _counts_of(graph_set: Family) -> List[int]:
    return [candidate.schedule.tokens_after for candidate in of_grid(graph_set)]


def counts_there(work: WorkFolder, form: str) -> List[int]:
    """Token counts of the grid that was exported before; [] where none was."""
    graph_set = _recorded_family(work, form) if os.path.isfile(work.experiment()) else None
    return _counts_of(graph_set) if graph_set else []


def with_searched(work: WorkFolder, graph_set: Family) -> Family:
    """A graph set that was just exported, with the searched candidates of the recorded one whose files are whole."""
    recorded = _recorded_family(work, graph_set.form)
    if recorded is None or recorded.weights_sha256 != graph_set.weights_sha256:
        return graph_set
    searched = [one for one in recorded.candidates if one.kind == SEARCHED]
    hashes = {one.id: recorded.graph_sha256[one.id] for one in searched}
    kept = {name: sha256 for name, sha256 in hashes.items() if is_file(work.graph(graph_set.form, name), sha256)}
    return graph_set._replace(
        candidates=graph_set.candidates + tuple(one for one in searched if one.id in kept),
        graph_sha256=dict(graph_set.graph_sha256, **kept),
    )


def accuracy_inputs(graph_set: Family, candidate_id: str) -> Dict[str, str]:
    """What an accuracy is made from: the fp32 model and a schedule. All forms share it."""
    tokens = next(one.schedule.tokens for one in graph_set.candidates if one.id == candidate_id)
    return {"model": graph_set.model_sha256, "tokens": " ".join(str(count) for count in tokens)}


def accuracy_of(work: WorkFolder, graph_set: Family, candidate_id: str) -> Optional[AccuracyEstimate]:
    """A candidate's accuracy, if it was estimated for today's model."""
    if not os.path.isfile(work.accuracy_arrays(candidate_id)):
        return None
    return store.read_matching(work.accuracy(candidate_id), AccuracyEstimate, accuracy_inputs(graph_set, candidate_id))


def counts(spec: ModelSpec, method: str, tokens: Optional[str]) -> Tuple[int, ...]:
    """Token counts of a grid, descending, the model's own first.

    Args:
        tokens: START:STOP:STEP; None is every count down to a quarter, or for the method none the model's own alone.
    """
    if tokens is None and method == "none":
        return (spec.tokens,)
    if tokens is None:
        start, stop, step = spec.tokens - 1, max(spec.prefix_tokens + 2, spec.tokens // 4), 1
    else:
        start, stop, step = schedule.parse_range(tokens)
    return tuple(schedule.grid(spec.tokens, start, stop, step))


def grid(experiment: Experiment, graph_set: Family, tokens: Optional[str]) -> List[Candidate]:
    """The candidates of a range of token counts, R = 0 first.

    Args:
        tokens: START:STOP:STEP; None is every candidate of the graph set, searched ones too.
    Raises: UsageError for a count that was not exported.
    """
    if tokens is None:
        return list(graph_set.candidates)
    wanted = set(counts(experiment.model, experiment.request.method, tokens))
    exported = _counts_of(graph_set)
    missing = wanted - set(exported)
    if missing:
        raise UsageError(
            "--tokens {} asks for {} tokens, but no such graph was exported as {}. Choose from {} to {}, or export "
            "them first: pomt-trt export MODEL --tokens {}.".format(
                tokens, max(missing), graph_set.form, max(exported), min(exported), tokens
            )
        )
    return [candidate for candidate in of_grid(graph_set) if candidate.schedule.tokens_after in wanted]
