"""Engines beside ONNX Runtime and beside the host, on golden inputs -> a Verification and its table.

Makes it from a bundle or a work folder, on the machine that runs engines. ONNX Runtime runs the source graph as it was
exported, without optimising it; Polygraphy runs and compares both where it is installed (comparator.py). Leaves out
accuracy on labels (evaluate.py) and what to do about a wrong engine: for TensorRT it prints the Polygraphy lines that
find the layer.
"""

import glob
import os
import shlex
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from pomt_trt.core.errors import InputError, MissingDependency, VerificationFailed, WrongDevice
from pomt_trt.core.metrics import parity
from pomt_trt.core.metrics.parity import Parity
from pomt_trt.core.progress import Progress
from pomt_trt.core.records import Bundle, Engine, Family
from pomt_trt.core.storage import experiment, store
from pomt_trt.core.storage.bundle import MANIFEST, open_bundle
from pomt_trt.core.storage.workfolder import WorkFolder
from pomt_trt.core.targets import TARGETS, has_plugin, is_bare
from pomt_trt.core.text_table import aligned
from pomt_trt.device.checks import comparator, golden_check
from pomt_trt.device.deploy.preprocess import normalise
from pomt_trt.device.engines import onnxruntime
from pomt_trt.device.engines.contract import Runner
from pomt_trt.device.engines.engine import check_device, open_engine
from pomt_trt.device.engines.traits import traits

HOST = "host"  # PyTorch in fp32, when it was exported
# By which Polygraphy takes another library than TensorRT. Source: polygraphy/config.py of 0.53.
_POLYGRAPHY_TAKES = {"tensorrt-rtx": "POLYGRAPHY_USE_TENSORRT_RTX=1 "}


class Subject(NamedTuple):
    """An engine, and what it should compute."""

    engine: Engine
    folder: str  # of the engine
    graph: str  # that it was built from
    form: str  # of that
    expected: Optional[np.ndarray]  # the host's logits on the golden inputs
    margins: Optional[np.ndarray]  # relative, of the scores at its cuts; None: unknown, or nothing was ranked


class Check(NamedTuple):
    """One comparison."""

    candidate_id: str
    device_id: str
    against: str  # host, or ONNX Runtime with its version
    compared_by: str  # Polygraphy with its version, or pomt-trt
    parity: Parity
    passed: bool


class Verification(NamedTuple):
    """What was compared, and what could not be."""

    source: str
    checks: Tuple[Check, ...]
    not_compared: Dict[str, str]  # what -> why
    hints: Tuple[str, ...]  # lines that find the layer which differs


def verify(
    source: str,
    only: Optional[Sequence[str]] = None,
    progress: Optional[Progress] = None,
) -> Verification:
    """Compares the engines of a bundle, or all of this device in a work folder.

    Args:
        only: ids of candidates, beside R = 0; None: all there are.
        progress: one step an engine.
    Raises: InputError where there is no engine to compare; CorruptArtifact; WrongDevice, a bundle of another device.
    """
    checks: List[Check] = []
    not_compared: Dict[str, str] = {}
    hints: List[str] = []
    is_bundle = os.path.isfile(os.path.join(source, MANIFEST))
    subjects, images = _of_bundle(source) if is_bundle else _of_work(WorkFolder(source), not_compared)
    wanted = [one for one in subjects if only is None or one.engine.candidate_id in {"r000", *only}]
    if not wanted:
        raise InputError("{} holds no engine of this machine to compare. Build: pomt-trt build WORK.".format(source))
    for done, subject in enumerate(wanted, 1):
        checks += checked(subject, images, not_compared)
        if progress:
            progress.at(done, subject.engine.candidate_id, len(wanted))
        if traits(subject.engine.device.engine).on_gpu:
            hints += _polygraphy(subject, images)
    return Verification(source, tuple(checks), not_compared, tuple(dict.fromkeys(hints)))


def require(found: Verification) -> None:
    """Raises VerificationFailed unless every engine is within its tolerance."""
    wrong = [check for check in found.checks if not check.passed]
    if wrong:
        raise VerificationFailed(
            "{} of {} comparisons are beyond their tolerance: {}. Build these engines again; if it stays, the lines "
            "above find the layer.".format(
                len(wrong), len(found.checks), ", ".join("{0.candidate_id} with {0.against}".format(c) for c in wrong)
            )
        )


def checked(subject: Subject, images: np.ndarray, not_compared: Dict[str, str]) -> List[Check]:
    """An engine beside everything it can be compared with; what it cannot be goes into not_compared."""
    engine = subject.engine
    known = {} if subject.expected is None else {HOST: subject.expected}
    if subject.expected is None:
        not_compared["{} with {}".format(engine.candidate_id, HOST)] = "its logits are not here: accuracy was not run"
    sessions = {}
    try:
        sessions = _sessions(subject)
    except MissingDependency as error:
        not_compared["onnxruntime"] = str(error)

    def judge(found: np.ndarray, expected: np.ndarray) -> Parity:
        return parity.compare(found, expected, subject.margins, engine.precision)

    with_polygraphy = comparator.is_installed() and comparator.takes(engine.device)
    by = "polygraphy " + comparator.version() if with_polygraphy else "pomt-trt"
    with open_engine(engine, subject.folder, waiting="passive") as runner:
        compare = comparator.compare if with_polygraphy else _compare
        found = compare(runner, images, known, sessions, judge)
    return [
        Check(engine.candidate_id, engine.device.id, against, by, seen, seen.passed)
        for against, seen in sorted(found.items())
    ]


def _sessions(subject: Subject) -> Dict[str, Callable[[], Any]]:
    """ONNX Runtime on the subject's graph, by its name.

    Raises: MissingDependency where it is not here, or cannot run the graph.
    """
    engine, lacking = subject.engine, TARGETS["onnxruntime"].lacks(subject.engine.precision)
    if lacking:
        raise MissingDependency(lacking + ".")
    if is_bare(subject.form):
        raise MissingDependency("graphs of form {} are for TensorRT with its plugins".format(subject.form))
    name = "onnxruntime " + onnxruntime.installed()
    return {name: lambda: onnxruntime.session(subject.graph, engine.threads, "passive", False)}


def _compare(
    runner: Runner,
    images: np.ndarray,
    known: Dict[str, np.ndarray],
    sessions: Dict[str, Callable[[], Any]],
    judge: Callable[[np.ndarray, np.ndarray], Parity],
) -> Dict[str, Parity]:
    """comparator.compare, without Polygraphy."""
    found, expected = golden_check.run(runner, images), dict(known)
    for name, opened in sessions.items():
        with onnxruntime.OrtRunner(opened(), runner.input_shape) as reference:
            expected[name] = golden_check.run(reference, images)
    return {name: judge(found, logits) for name, logits in expected.items()}


def subject_in(bundle: Bundle, folder: str, engine: Engine, engine_folder: str, unreduced: np.ndarray) -> Subject:
    """An engine of a bundle's chosen or unreduced candidate, which may lie elsewhere.

    Args:
        unreduced: the host's logits of R = 0.
    """
    name = engine.candidate_id
    found = Subject(engine, engine_folder, os.path.join(folder, name + ".onnx"), bundle.form, None, None)
    if name == bundle.unreduced.id:
        return found._replace(expected=unreduced)
    if name + ".npz" not in bundle.files:
        return found
    logits, margins = _expected(os.path.join(folder, name + ".npz"))
    return found._replace(expected=logits, margins=margins)


def _of_bundle(folder: str) -> Tuple[List[Subject], np.ndarray]:
    bundle = open_bundle(folder)
    golden = golden_check.golden(os.path.join(folder, "golden.npz"))
    engines = {engine.file: engine for engine in (bundle.engine, bundle.unreduced_engine)}
    subjects = [subject_in(bundle, folder, engine, folder, golden.logits) for engine in engines.values()]
    return subjects, normalise(golden.pixels, bundle.model.preprocessing)


def _of_work(work: WorkFolder, not_compared: Dict[str, str]) -> Tuple[List[Subject], np.ndarray]:
    look = experiment.experiment_of(work).model.preprocessing
    images = normalise(golden_check.golden(work.golden()).pixels, look)
    families = [experiment.family_of(work, form) for form in work.forms()]
    subjects: List[Subject] = []
    for path in sorted(glob.glob(os.path.join(glob.escape(work.engines("")), "*", "[rs]*.json"))):
        if path.endswith(".failed.json") or not os.path.isfile(path[: -len(".json")] + ".engine"):
            continue
        stored = store.read_record(path, Engine)
        try:
            check_device(stored.record.device)
            subjects += _subjects(work, families, stored, path)
        except (WrongDevice, MissingDependency) as error:
            not_compared[stored.record.device.id] = str(error)
    return subjects, images


def _subjects(work: WorkFolder, families: List[Family], stored: store.Stored, record: str) -> List[Subject]:
    """The engine of a record, unless its graph has changed since."""
    engine: Engine = stored.record
    name = engine.candidate_id
    for family in families:
        if family.graph_sha256.get(name) == stored.inputs.get("onnx"):
            known = experiment.accuracy_of(work, family, name) is not None
            logits, margins = _expected(work.accuracy_arrays(name)) if known else (None, None)
            graph, folder = work.graph(family.form, name), os.path.dirname(record)
            return [Subject(engine, folder, graph, family.form, logits, margins)]
    return []


def _expected(path: str) -> Tuple[np.ndarray, np.ndarray]:
    """(logits, margins) of a candidate on the golden inputs."""
    held = golden_check.arrays(path, ("logits", "margins"))
    return held["logits"], held["margins"]


def _polygraphy(subject: Subject, images: np.ndarray) -> List[str]:
    """Lines to paste that find the layer in which a TensorRT engine differs; or why there are none."""
    if has_plugin(subject.form):
        return ["To find the layer that differs, build engines without plugins: pomt-trt build WORK --plugin off"]
    if not comparator.takes(subject.engine.device):
        return ["Polygraphy needs TensorRT 8.5 or later; this is {}.".format(subject.engine.device.engine_version)]
    if not comparator.is_installed():
        return ["Polygraphy, which finds the layer that differs, is not installed here: pip install polygraphy"]
    graph, engine = shlex.quote(subject.graph), shlex.quote(os.path.join(subject.folder, subject.engine.file))
    inputs, outputs = (subject.engine.candidate_id + suffix for suffix in ("-inputs.json", "-onnxruntime.json"))
    scale = 1.0 if subject.expected is None else float(np.abs(subject.expected).max())
    allowed = parity.TOLERANCE[subject.engine.precision]
    compare = "--load-inputs {} --load-outputs {} --check-error-stat median --rtol {:g} --atol {:g}".format(
        inputs, outputs, allowed, allowed * scale
    )
    lines = [
        "polygraphy run {} --onnxrt --seed 0 --val-range image:[{:.2f},{:.2f}] --save-inputs {} "
        "--save-outputs {}".format(graph, images.min(), images.max(), inputs, outputs),
        "polygraphy run {} --model-type engine --trt {}".format(engine, compare),
    ]
    if (subject.engine.details or {}).get("strongly_typed"):  # precision is the graph's: look at all tensors instead
        lines.append(
            "polygraphy run {} --trt --strongly-typed --onnxrt --trt-outputs mark all --onnx-outputs mark all "
            "--load-inputs {} --fail-fast".format(graph, inputs)
        )
    elif subject.engine.precision != "fp32":
        lines.append(
            "polygraphy debug precision {} --{} --mode bisect --check polygraphy run polygraphy_debug.engine "
            "--model-type engine --trt {}".format(graph, subject.engine.precision, compare)
        )
    return [_POLYGRAPHY_TAKES.get(subject.engine.device.engine, "") + line for line in lines]


def table(found: Verification) -> str:
    """The result for people."""
    rows = [("engine", "against", "images", "compared", "error", "allowed", "verdict")]
    for check in found.checks:
        seen, verdict = check.parity, "same" if check.passed else "DIFFERS"
        numbers = (str(seen.images), str(seen.compared), "{:.1e}".format(seen.error), "{:.0e}".format(seen.allowed))
        rows.append((check.candidate_id, check.against, *numbers, verdict))
    lines = aligned(rows, right=range(2, 6))
    lines.append("error: the median over images, relative to an image's largest logit; compared: cuts that are clear")
    lines.append("compared by " + ", ".join(sorted({check.compared_by for check in found.checks})))
    lines += ["{}: not compared: {}".format(what, why) for what, why in sorted(found.not_compared.items())]
    return "\n".join(lines + list(found.hints))
