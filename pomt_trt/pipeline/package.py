"""What is made of a selection: the bundle, the figure, and the measured curve."""

import json
import os
from typing import Dict

from pomt_trt.core.errors import PomtError, StaleArtifact
from pomt_trt.core.records import Bundle, Candidate, Engine, LatencyProfile, Request, Selection
from pomt_trt.core.statistics import stats
from pomt_trt.core.storage import store
from pomt_trt.core.storage.bundle import open_bundle, pack
from pomt_trt.core.storage.workfolder import WorkFolder
from pomt_trt.device.engines.contract import layers_of
from pomt_trt.device.engines.tensorrt.plugin_files import beside
from pomt_trt.pipeline.session import Session


def make_bundle(session: Session, chosen: Selection) -> str:
    """Packs the chosen engine for deployment; returns the bundle's folder.

    Raises: StaleArtifact where its engine file was removed after profiling, and says how to have it back.
    """
    winner, unreduced = (session.candidate(row.id) for row in (chosen.chosen, chosen.unreduced))
    engine, unreduced_engine = (_engine(session, candidate) for candidate in (winner, unreduced))
    manifest = Bundle(
        model=session.experiment.model,
        method=session.experiment.request.method,
        layer=session.experiment.request.layer,
        candidate=winner,
        unreduced=unreduced,
        engine=engine,
        unreduced_engine=unreduced_engine,
        form=session.graph_set.form,
        selection=chosen,
        files={},
        fp32_nodes=session.graph_set.fp32_nodes,
        class_order=session.experiment.class_order,
    )
    folder, sources = session.work.bundle(session.device.id), _sources(session, manifest)
    if not _is_packed(folder, manifest, sources):
        pack(folder, manifest, sources)
    return folder


def _sources(session: Session, manifest: Bundle) -> Dict[str, str]:
    """Name in the bundle -> the file of the work folder that is packed."""
    work, form, folder = session.work, session.graph_set.form, session.engines.engines_folder
    paths = [work.weights(form), work.golden()]
    for engine in (manifest.engine, manifest.unreduced_engine):
        path = os.path.join(folder, engine.file)
        paths += [work.graph(form, engine.candidate_id), path]
        paths += [layers_of(path)] if os.path.isfile(layers_of(path)) else []
        kernels = (engine.details or {}).get("kernels")
        paths += [] if kernels is None else [os.path.join(folder, kernels["file"])]
        plugins = beside(engine, folder)
        paths += [] if plugins is None else [plugins.path]
    paths += [path for path in (work.plain(form), work.training()) if os.path.isfile(path)]
    if session.accuracy(manifest.candidate.id) is not None:
        paths.append(work.accuracy_arrays(manifest.candidate.id))
    return {os.path.basename(path): path for path in paths}


def _is_packed(folder: str, manifest: Bundle, sources: Dict[str, str]) -> bool:
    """True where the bundle that is there is whole and the one that would be made."""
    try:
        packed = open_bundle(folder)
    except PomtError:
        return False
    if store.to_json(packed._replace(files={})) != store.to_json(manifest) or set(packed.files) != set(sources):
        return False
    return all(store.sha256_of(path) == packed.files[name]["sha256"] for name, path in sources.items())


def _engine(session: Session, candidate: Candidate) -> Engine:
    root, threads, engine = session.work.root, session.settings.threads, session.engine(candidate.id)
    if engine is None:
        raise StaleArtifact(
            "{1} wins, but it has no engine for --threads {2} here. Name the threads that it was compiled for, or "
            "build it: pomt-trt build {0} --only {1} --threads {2}.".format(root, candidate.id, threads)
        )
    if not os.path.isfile(os.path.join(session.engines.engines_folder, engine.file)):
        raise StaleArtifact(
            "{1} wins, but its engine file was removed after it was profiled, since no rule named it then. Have it "
            "back with: pomt-trt build {0} --only {1} --threads {2}; then run this again.".format(
                root, candidate.id, threads
            )
        )
    return engine


def remove_losers(work: WorkFolder, chosen: Selection) -> None:
    """Deletes the engine files that no rule would name: all but R = 0, edges, searched ones, Pareto set and winner."""
    edges = {step.edge_tokens for step in chosen.steps}
    kept = {chosen.unreduced.id, chosen.chosen.id, *chosen.pareto}
    kept.update(row.id for row in chosen.rows if row.tokens_after in edges or row.schedule is not None)
    for row in chosen.rows:
        for suffix in (".engine", ".kernels"):
            path = os.path.join(work.engines(chosen.device_id), row.id + suffix)
            if row.id not in kept and os.path.exists(path):
                os.unlink(path)


def draw(work: WorkFolder, request: Request, chosen: Selection) -> str:
    """The selection as a PNG; returns its path.

    Raises: MissingDependency where matplotlib is not installed.
    """
    from pomt_trt.report import figure

    path = work.figure(chosen.device_id)
    if not os.path.exists(path):  # select removes the figure of another choice
        title = "{}, {}, batch {}".format(request.model, request.method, request.batch_size)
        figure.draw(chosen, path, title=title)
    return path


def write_curve(work: WorkFolder, request: Request, chosen: Selection) -> str:
    """The device's measured points as CURVE.json, which `pomt-trt replay` reads; returns its path.

    Raises: StaleArtifact where some were timed at another pace since.
    """
    points, paces = [], set()
    for row in chosen.rows:
        if row.status == "measured" and row.schedule is None:
            profile: LatencyProfile = store.read_record(work.latency(chosen.device_id, row.id), LatencyProfile).record
            samples = [round(ms * profile.tie, 6) for ms in stats.undrifted(profile.rounds_ms, profile.drift)]
            points.append({"tokens": row.tokens_after, "latency_ms": samples, "accuracy": row.accuracy})
            paces.add(profile.pace_fps)
    if len(paces) > 1:
        raise StaleArtifact(
            "some candidates of {0} were timed at another pace than the others, which makes no curve. Profile all "
            "alike: pomt-trt profile {0} [--pace FPS], then pomt-trt select.".format(work.root)
        )
    curve = {"batch_size": request.batch_size, "device": chosen.device_id, "points": points}
    if paces != {None}:
        curve["pace_fps"] = paces.pop()
    store.write_bytes(work.curve(chosen.device_id), json.dumps(curve).encode())
    return work.curve(chosen.device_id)
