"""A bundle whose engines belong to another device or release, with engines that are built here in their place.

Engines are built from the graphs that the bundle carries, compared with the golden inputs, and timed shortly. The
candidate stays the one that was chosen; where it was chosen on another device, the bundle says so.
"""

import datetime
import os
import tempfile
from typing import Dict, Iterable, List, Optional, Tuple

from pomt_trt.core.errors import BuildFailed, InputError
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Bundle, Engine, Experiment, Family, Request
from pomt_trt.core.storage import bundle as bundles
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WEIGHTS, WorkFolder
from pomt_trt.device.board import board
from pomt_trt.device.checks import golden_check, verify
from pomt_trt.device.deploy.preprocess import normalise
from pomt_trt.device.engines.contract import layers_of
from pomt_trt.device.engines.tensorrt import plugin_files
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.engine_records import EngineRecords
from pomt_trt.device.timing.worker_protocol import Settings

MARK = "rebuilt "  # how the note of a rebuilt bundle begins
TIMED_S = 2.0  # of each engine


def rebuild(folder: str, threads: Optional[int] = None) -> Tuple[str, ...]:
    """Builds a bundle's engines anew on this device. The bundle is replaced whole or stays as it is.

    Args:
        threads: of the CPU; None: as many as the engines were built for.
    Returns: the notes that were added to its selection: on which device, how fast, and whether the candidate was chosen
        on another.
    Raises: InputError where the bundle lacks its graphs; BuildFailed; VerificationFailed where a new engine computes
        something else; MissingDependency; CorruptArtifact.
    """
    folder = os.path.abspath(folder)
    bundle = bundles.open_bundle(folder)
    device = board.in_form(board.device_spec(bundle.engine.device.engine), bundle.form, bundle.candidate.precision)
    library = plugin_files.found(None) or plugin_files.beside(bundle.engine, folder)  # that of this machine first
    settings = Settings(threads or bundle.engine.threads, max_s=TIMED_S, plugin_library=library)
    with store.explained(folder), tempfile.TemporaryDirectory(prefix=".rebuild-", dir=os.path.dirname(folder)) as root:
        work = WorkFolder(root)
        records = EngineRecords(work, _unpacked(bundle, folder, work), device, settings)
        engines = _built(records)
        _check(bundle, folder, engines, records.engines_folder)
        notes = _notes(bundle, records)
        sources = _sources(bundle, folder, engines, records.engines_folder)
        bundles.pack(folder, _manifest(bundle, engines, notes), sources)
    return notes


def _unpacked(bundle: Bundle, folder: str, work: WorkFolder) -> Family:
    """Copies the bundle's graphs and golden inputs to a work folder; returns their graph set.

    It has two candidates, or one where R = 0 was chosen.
    """
    candidates = {one.id: one for one in (bundle.unreduced, bundle.candidate)}
    files = {"golden.npz": work.golden(), WEIGHTS: work.weights(bundle.form)}
    for name in candidates:
        files[name + ".onnx"] = work.graph(bundle.form, name)
        if name + ".npz" in bundle.files:
            files[name + ".npz"] = work.accuracy_arrays(name)
    for name, target in files.items():
        if name not in bundle.files:
            raise InputError(
                "{} holds no {}, so that its engines cannot be built from it. Make it anew where its work folder is: "
                "pomt-trt bundle WORK.".format(folder, name)
            )
        store.copy(os.path.join(folder, name), target)
    store.write_record(work.experiment(), _experiment(bundle))
    return Family(
        form=bundle.form,
        target="",
        opset=0,
        ir_version=0,
        weights_sha256=bundle.files[WEIGHTS]["sha256"],
        weights_bytes=bundle.files[WEIGHTS]["bytes"],
        candidates=tuple(candidates.values()),
        graph_sha256={name: bundle.files[name + ".onnx"]["sha256"] for name in candidates},
        precision=bundle.engine.precision,
        fp32_nodes=bundle.fp32_nodes,
    )


def _experiment(bundle: Bundle) -> Experiment:
    """The experiment that a bundle comes from, as far as the bundle says."""
    request = Request(
        model=bundle.model.name,
        checkpoint=None,
        checkpoint_sha256=None,
        pretrained=False,
        head=bundle.model.head,
        labels=None,
        image_size=bundle.model.preprocessing.height,
        image_width=bundle.model.preprocessing.width,
        method=bundle.method,
        layer=bundle.layer,
        batch_size=bundle.candidate.batch_size,
        data=None,
        samples=0,
        seed=0,
    )
    return Experiment(request, bundle.model, "unlabelled", bundle.selection.accuracy_kind, 0)


def _built(records: EngineRecords) -> Dict[str, Engine]:
    """New engines by candidate, timed. Raises BuildFailed with the reason of the first that cannot be built."""
    candidates = records.graph_set.candidates
    try:
        with Progress("rebuild", len(candidates)) as progress:
            profiling.profile(records, candidates, progress)
    except BuildFailed:  # of R = 0, where it is recorded as the others' failures are
        if records.failure(candidates[0].id) is None:
            raise
    engines = {}
    for candidate in candidates:
        failure, engine = records.failure(candidate.id), records.engine(candidate.id)
        if failure is not None or engine is None:
            raise BuildFailed(
                "{} cannot be built here, and the bundle is left as it was: {}".format(
                    candidate.id, failure.reason if failure else "there is no record of it"
                )
            )
        engines[candidate.id] = engine
    return engines


def _check(bundle: Bundle, folder: str, engines: Dict[str, Engine], built: str) -> None:
    """Raises VerificationFailed unless the new engines compute what the host expects of them."""
    golden = golden_check.golden(os.path.join(folder, "golden.npz"))
    images = normalise(golden.pixels, bundle.model.preprocessing)
    checks: List[verify.Check] = []
    for engine in engines.values():
        checks += verify.checked(verify.subject_in(bundle, folder, engine, built, golden.logits), images, {})
    verify.require(verify.Verification(folder, tuple(checks), {}, ()))


def _notes(bundle: Bundle, records: EngineRecords) -> Tuple[str, ...]:
    latencies = {one.id: records.latency(one.id) for one in records.graph_set.candidates}
    timed = [
        "{} takes {:.2f} ms [{:.2f}, {:.2f}]".format(name, profile.latency_ms, *profile.latency_ci_ms)
        for name, profile in sorted(latencies.items())
        if profile is not None
    ]
    device_id = records.device.id
    notes = [MARK + "{} on {}: {}".format(datetime.date.today().isoformat(), device_id, ", ".join(timed))]
    if device_id != bundle.selection.device_id:
        notes.append(
            MARK
            + "for another device than {}, on which {} was chosen: here another count may be the best. To choose "
            "here: pomt-trt profile WORK, then select and bundle".format(
                bundle.selection.device_id, bundle.candidate.id
            )
        )
    return tuple(notes)


def _manifest(bundle: Bundle, engines: Dict[str, Engine], notes: Tuple[str, ...]) -> Bundle:
    earlier = tuple(note for note in bundle.selection.notes if not note.startswith(MARK))
    return bundle._replace(
        engine=engines[bundle.candidate.id],
        unreduced_engine=engines[bundle.unreduced.id],
        selection=bundle.selection._replace(notes=earlier + notes),
    )


def _sources(bundle: Bundle, folder: str, engines: Dict[str, Engine], built: str) -> Dict[str, str]:
    """The bundle's files, with the new engines, their layers, plugins and kernels in place of the old ones."""
    made = [name for engine in engines.values() for name in (engine.file, layers_of(engine.file))]
    made += _companions([*engines.values(), bundle.engine, bundle.unreduced_engine])
    sources = {name: os.path.join(folder, name) for name in bundle.files if name not in made}
    sources.update({name: os.path.join(built, name) for name in made if os.path.isfile(os.path.join(built, name))})
    return sources


def _companions(engines: Iterable[Engine]) -> List[str]:
    """Names of the plugin libraries and compiled kernels of engines."""
    parts = [(engine.details or {}).get(part) for engine in engines for part in ("plugin", "kernels")]
    return sorted({part["file"] for part in parts if part is not None})
