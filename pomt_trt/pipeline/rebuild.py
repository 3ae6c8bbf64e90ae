"""A bundle whose engines belong to another device or release -> the same bundle with engines built here.

Builds from the graphs that the bundle carries, as profile does, holds the engines against the golden inputs, times them
shortly and packs them in place of the old ones. On the machine that runs engines. Leaves out the choice: the candidate
stays the one that was chosen, and where that was on another device the bundle says so.
"""

import datetime
import os
import tempfile
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

from pomt_trt.core.errors import BuildFailed, InputError
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Bundle, DeviceSpec, Engine, Experiment, Family, LatencyProfile, Request
from pomt_trt.core.storage import bundle as bundles
from pomt_trt.core.storage import store
from pomt_trt.core.storage.workfolder import WEIGHTS, WorkFolder
from pomt_trt.device.board import board
from pomt_trt.device.checks import golden_check, verify
from pomt_trt.device.deploy.preprocess import normalise
from pomt_trt.device.engines.contract import layers_of
from pomt_trt.device.engines.tensorrt import plugin_files
from pomt_trt.device.timing import profiling
from pomt_trt.device.timing.profiling import Settings

MARK = "rebuilt "  # how the note of a rebuilt bundle begins
TIMED_S = 2.0  # of each engine


class Rebuilt(NamedTuple):
    """What was made."""

    bundle: Bundle
    notes: Tuple[str, ...]  # that were added to the selection: where, how fast, for which device it was chosen


def rebuild(folder: str, threads: Optional[int] = None, waiting: str = "default") -> Rebuilt:
    """Builds a bundle's engines anew on this device; the bundle is replaced, whole or not at all.

    Args:
        threads: of the CPU; None: as many as the engines were built for.
    Raises: InputError where the bundle lacks its graphs; BuildFailed; VerificationFailed where a new engine computes
        something else; MissingDependency; CorruptArtifact.
    """
    folder = os.path.abspath(folder)
    there = bundles.open_bundle(folder)
    device = board.in_form(board.device_spec(there.engine.device.engine), there.form, there.candidate.precision)
    library = plugin_files.found(None) or plugin_files.beside(there.engine, folder)  # built here, if it is
    settings = Settings(threads or there.engine.threads, waiting, TIMED_S, plugin_library=library)
    with store.explained(folder), tempfile.TemporaryDirectory(prefix=".rebuild-", dir=os.path.dirname(folder)) as root:
        work = WorkFolder(root)
        family = _unpacked(there, folder, work)
        engines = _built(work, family, device, settings)
        _check(there, folder, engines, work.engines(device.id))
        notes = _notes(there, device, _latencies(work, family, device, settings))
        made = _manifest(there, engines, notes)
        bundles.pack(folder, made, _sources(there, folder, engines, work.engines(device.id)))
    return Rebuilt(bundles.open_bundle(folder), notes)


def _unpacked(there: Bundle, folder: str, work: WorkFolder) -> Family:
    """The bundle's graphs and golden inputs as a work folder of two candidates, or one where R = 0 was chosen."""
    candidates = {one.id: one for one in (there.unreduced, there.candidate)}
    files = {"golden.npz": work.golden(), WEIGHTS: work.weights(there.form)}
    for name in candidates:
        files[name + ".onnx"] = work.graph(there.form, name)
        if name + ".npz" in there.files:
            files[name + ".npz"] = work.accuracy_arrays(name)
    for name, target in files.items():
        if name not in there.files:
            raise InputError(
                "{} holds no {}, so that its engines cannot be built from it. Make it anew where its work folder is: "
                "pomt-trt bundle WORK.".format(folder, name)
            )
        store.copy(os.path.join(folder, name), target)
    store.write_record(work.experiment(), _experiment(there))
    return Family(
        form=there.form,
        target="",
        opset=0,
        ir_version=0,
        weights_sha256=there.files[WEIGHTS]["sha256"],
        weights_bytes=there.files[WEIGHTS]["bytes"],
        candidates=tuple(candidates.values()),
        graph_sha256={name: there.files[name + ".onnx"]["sha256"] for name in candidates},
        precision=there.engine.precision,
        fp32_nodes=there.fp32_nodes,
    )


def _experiment(there: Bundle) -> Experiment:
    """What a bundle tells of the experiment that it comes from."""
    asked = Request(
        model=there.model.name,
        checkpoint=None,
        checkpoint_sha256=None,
        pretrained=False,
        head=there.model.head,
        labels=None,
        image_size=there.model.preprocessing.height,
        method=there.method,
        layer=there.layer,
        batch_size=there.candidate.batch_size,
        data=None,
        samples=0,
        seed=0,
    )
    return Experiment(asked, there.model, "unlabelled", there.selection.accuracy_kind, 0)


def _built(work: WorkFolder, family: Family, device: DeviceSpec, settings: Settings) -> Dict[str, Engine]:
    """New engines by candidate, timed. Raises BuildFailed with the reason of the first that cannot be had."""
    try:
        with Progress("rebuild", len(family.candidates)) as progress:
            profiling.profile(work, family, family.candidates, device, settings, progress)
    except BuildFailed:  # of R = 0, which is recorded as the others' failures are
        if profiling.failure_of(work, family, family.candidates[0].id, device, settings) is None:
            raise
    engines = {}
    for candidate in family.candidates:
        failure = profiling.failure_of(work, family, candidate.id, device, settings)
        engine = profiling.engine_of(work, family, candidate.id, device, settings)
        if failure is not None or engine is None:
            raise BuildFailed(
                "{} cannot be built here, and the bundle is left as it was: {}".format(
                    candidate.id, failure.reason if failure else "there is no record of it"
                )
            )
        engines[candidate.id] = engine
    return engines


def _check(there: Bundle, folder: str, engines: Dict[str, Engine], built: str) -> None:
    """Raises VerificationFailed unless the new engines compute what the host expects of them."""
    golden = golden_check.golden(os.path.join(folder, "golden.npz"))
    images = normalise(golden.pixels, there.model.preprocessing)
    checks: List[verify.Check] = []
    for engine in engines.values():
        checks += verify.checked(verify.subject_in(there, folder, engine, built, golden.logits), images, {})
    verify.require(verify.Verification(folder, tuple(checks), {}, ()))


def _latencies(
    work: WorkFolder, family: Family, device: DeviceSpec, settings: Settings
) -> Dict[str, Optional[LatencyProfile]]:
    return {one.id: profiling.latency_of(work, family, one.id, device, settings) for one in family.candidates}


def _notes(there: Bundle, device: DeviceSpec, latencies: Dict[str, Optional[LatencyProfile]]) -> Tuple[str, ...]:
    timed = [
        "{} takes {:.2f} ms [{:.2f}, {:.2f}]".format(name, found.latency_ms, *found.latency_ci_ms)
        for name, found in sorted(latencies.items())
        if found is not None
    ]
    notes = [MARK + "{} on {}: {}".format(datetime.date.today().isoformat(), device.id, ", ".join(timed))]
    if device.id != there.selection.device_id:
        notes.append(
            MARK
            + "for another device than {}, on which {} was chosen: here another count may be the best. To choose "
            "here: pomt-trt profile WORK, then select and bundle".format(there.selection.device_id, there.candidate.id)
        )
    return tuple(notes)


def _manifest(there: Bundle, engines: Dict[str, Engine], notes: Tuple[str, ...]) -> Bundle:
    earlier = tuple(note for note in there.selection.notes if not note.startswith(MARK))
    return there._replace(
        engine=engines[there.candidate.id],
        unreduced_engine=engines[there.unreduced.id],
        selection=there.selection._replace(notes=earlier + notes),
    )


def _sources(there: Bundle, folder: str, engines: Dict[str, Engine], built: str) -> Dict[str, str]:
    """The bundle's files, with the new engines, their layers, plugins and kernels in place of the old ones."""
    made = [name for engine in engines.values() for name in (engine.file, layers_of(engine.file))]
    made += _companions([*engines.values(), there.engine, there.unreduced_engine])
    sources = {name: os.path.join(folder, name) for name in there.files if name not in made}
    sources.update({name: os.path.join(built, name) for name in made if os.path.isfile(os.path.join(built, name))})
    return sources


def _companions(engines: Iterable[Engine]) -> List[str]:
    """Names of the plugin libraries and compiled kernels of engines."""
    told = [(engine.details or {}).get(part) for engine in engines for part in ("plugin", "kernels")]
    return sorted({companion["file"] for companion in told if companion is not None})
