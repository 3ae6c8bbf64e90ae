"""Compares engines with their references on the golden images, and prints how to find a wrong layer.

The references are the host's logits (PyTorch) and ONNX Runtime on the exported graph, which it does not optimise.
Polygraphy is the judge where it is installed (polygraphy_judge.py).
"""

import glob
import os
import shlex
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

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
from pomt_trt.device.checks import golden_check, polygraphy_judge
from pomt_trt.device.deploy import predictor
from pomt_trt.device.deploy.preprocess import normalise
from pomt_trt.device.engines import onnxruntime
from pomt_trt.device.engines.engine import check_device, open_engine
from pomt_trt.device.engines.traits import traits

HOST = "host"  # PyTorch in fp32, when it was exported
# Makes Polygraphy use another library than TensorRT. Source: polygraphy/config.py of 0.53.
_POLYGRAPHY_TAKES = {"tensorrt-rtx": "POLYGRAPHY_USE_TENSORRT_RTX=1 "}


class Subject(NamedTuple):
    """An engine with its graph and the host's logits."""

    engine: Engine
    folder: str  # of the engine
    graph: str  # file
    form: str  # of the graph
    expected: Optional[np.ndarray]  # the host's logits on the golden inputs
    margins: Optional[np.ndarray]  # relative score margins of the images; None: unknown, or nothing was ranked


class Check(NamedTuple):
    """One comparison."""

    candidate_id: str
    device_id: str
    against: str  # host, or ONNX Runtime with its version
    compared_by: str  # Polygraphy with its version, or pomt-trt
    parity: Parity
    passed: bool


class Verification(NamedTuple):
    """The comparisons of a bundle or work folder."""

    source: str
    checks: Tuple[Check, ...]
    not_compared: Dict[str, str]  # engine or reference -> reason
    hints: Tuple[str, ...]  # commands that find a wrong layer


def verify(source: str, only: Optional[Sequence[str]] = None, progress: Optional[Progress] = None) -> Verification:
    """Compares the engines of a bundle, or of this device in a work folder, with their references.

    Args:
        only: ids of candidates besides R = 0; None: all.
        progress: one step for each engine.
    Raises: InputError if there is no engine to compare; CorruptArtifact; WrongDevice if the bundle is for another one.
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
            hints += layer_search(subject, images)
    return Verification(source, tuple(checks), not_compared, tuple(dict.fromkeys(hints)))


def require(result: Verification) -> None:
    """Raises VerificationFailed unless all engines are within their tolerance."""
    wrong = [check for check in result.checks if not check.passed]
    if wrong:
        raise VerificationFailed(
            "{} of {} comparisons are beyond their tolerance: {}. Build these engines again; if it stays, the lines "
            "above find the layer.".format(
                len(wrong), len(result.checks), ", ".join("{0.candidate_id} with {0.against}".format(c) for c in wrong)
            )
        )


def checked(subject: Subject, images: np.ndarray, not_compared: Dict[str, str]) -> List[Check]:
    """Compares an engine with all references there are; the reasons for missing ones go into not_compared."""
    engine = subject.engine
    references = {}
    if subject.expected is not None:
        references[HOST] = subject.expected
    else:
        not_compared["{} with {}".format(engine.candidate_id, HOST)] = "its logits are not here: accuracy was not run"
    try:
        references["onnxruntime " + onnxruntime.installed()] = _logits_of_graph(subject, images)
    except MissingDependency as error:
        not_compared["onnxruntime"] = str(error)
    with open_engine(engine, subject.folder, waiting="passive") as runner:
        logits = predictor.run(runner, images)
    return [_check(subject, logits, name, references[name]) for name in sorted(references)]


def _logits_of_graph(subject: Subject, images: np.ndarray) -> np.ndarray:
    """Logits (n, ...) of the subject's graph by ONNX Runtime.

    Raises: MissingDependency if it cannot run the graph.
    """
    engine, lacking = subject.engine, TARGETS["onnxruntime"].lacks(subject.engine.precision)
    if lacking:
        raise MissingDependency(lacking + ".")
    if is_bare(subject.form):
        raise MissingDependency("graphs of form {} are for TensorRT with its plugins".format(subject.form))
    session = onnxruntime.session(subject.graph, engine.threads, "passive", False)
    with onnxruntime.OrtRunner(session, engine.input_shape) as reference:
        return predictor.run(reference, images)


def _check(subject: Subject, logits: np.ndarray, against: str, expected: np.ndarray) -> Check:
    """One comparison, by Polygraphy if it is installed, else by core/metrics/parity."""
    engine, margins = subject.engine, subject.margins
    result = parity.compare(logits, expected, margins, engine.precision)
    passed, compared_by = result.passed, "pomt-trt"
    if polygraphy_judge.is_installed() and polygraphy_judge.supports(engine.device):
        compared_by = polygraphy_judge.name()
        clear = np.ones(len(logits), bool) if margins is None else margins > parity.LEAST_MARGIN[engine.precision]
        if clear.any() and np.isfinite(logits).all():
            passed = polygraphy_judge.passes(logits[clear], expected[clear], result.allowed)
    return Check(engine.candidate_id, engine.device.id, against, compared_by, result, passed)


def subject_in(bundle: Bundle, folder: str, engine: Engine, engine_folder: str, unreduced: np.ndarray) -> Subject:
    """The Subject of a bundle's chosen or unreduced candidate.

    Args:
        engine_folder: folder of the engine, which may be another one than the bundle.
        unreduced: the host's logits of R = 0.
    """
    name = engine.candidate_id
    subject = Subject(engine, engine_folder, os.path.join(folder, name + ".onnx"), bundle.form, None, None)
    if name == bundle.unreduced.id:
        return subject._replace(expected=unreduced)
    if name + ".npz" not in bundle.files:
        return subject
    logits, margins = _expected(os.path.join(folder, name + ".npz"))
    return subject._replace(expected=logits, margins=margins)


def _of_bundle(folder: str) -> Tuple[List[Subject], np.ndarray]:
    bundle = open_bundle(folder)
    golden = golden_check.golden(os.path.join(folder, "golden.npz"))
    engines = {engine.file: engine for engine in (bundle.engine, bundle.unreduced_engine)}
    subjects = [subject_in(bundle, folder, engine, folder, golden.logits) for engine in engines.values()]
    return subjects, normalise(golden.pixels, bundle.model.preprocessing)


def _of_work(work: WorkFolder, not_compared: Dict[str, str]) -> Tuple[List[Subject], np.ndarray]:
    preprocessing = experiment.experiment_of(work).model.preprocessing
    images = normalise(golden_check.golden(work.golden()).pixels, preprocessing)
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
            has_logits = experiment.accuracy_of(work, family, name) is not None
            logits, margins = _expected(work.accuracy_arrays(name)) if has_logits else (None, None)
            graph, folder = work.graph(family.form, name), os.path.dirname(record)
            return [Subject(engine, folder, graph, family.form, logits, margins)]
    return []


def _expected(path: str) -> Tuple[np.ndarray, np.ndarray]:
    """(logits, margins) of a candidate on the golden images."""
    arrays = golden_check.arrays(path, ("logits", "margins"))
    return arrays["logits"], arrays["margins"]


def layer_search(subject: Subject, images: np.ndarray) -> List[str]:
    """Shell commands that find the layer in which a TensorRT engine differs; or why there are none."""
    if has_plugin(subject.form):
        return ["To find the layer that differs, build engines without plugins: pomt-trt build WORK --plugin off"]
    if not polygraphy_judge.supports(subject.engine.device):
        return ["Polygraphy needs TensorRT 8.5 or later; this is {}.".format(subject.engine.device.engine_version)]
    if not polygraphy_judge.is_installed():
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


def table(result: Verification) -> str:
    """The comparisons as text."""
    rows = [("engine", "against", "images", "compared", "error", "allowed", "verdict")]
    for check in result.checks:
        images, compared, error, allowed = check.parity
        numbers = (str(images), str(compared), "{:.1e}".format(error), "{:.0e}".format(allowed))
        rows.append((check.candidate_id, check.against, *numbers, "same" if check.passed else "DIFFERS"))
    lines = aligned(rows, right=range(2, 6))
    lines.append("error: the median over images, relative to an image's largest logit; compared: cuts that are clear")
    lines.append("compared by " + ", ".join(sorted({check.compared_by for check in result.checks})))
    lines += ["{}: not compared: {}".format(what, why) for what, why in sorted(result.not_compared.items())]
    return "\n".join(lines + list(result.hints))
