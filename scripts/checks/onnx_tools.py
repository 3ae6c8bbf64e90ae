#!/usr/bin/env python3
"""Opens every ONNX graph below a folder with the tools that users have, and says which refuse it.

usage: scripts/checks/onnx_tools.py FOLDER [--json]       FOLDER: a work folder, a bundle, or any other

Every tool gets a graph's absolute path and works from a folder in which there are no weights. Three of the tools run
the graphs too: their logits have to be the same. Exit code 7 where a tool refuses a graph or computes something else,
3 where there is no graph.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import onnxslim
import openvino
from onnx import TensorProto
from polygraphy.tools._main import main as polygraphy

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # a checkout need not be installed

from pomt_trt.core.command import exit_code_of
from pomt_trt.core.errors import InputError, VerificationFailed
from pomt_trt.core.metrics import parity
from pomt_trt.core.targets import PLUGIN_DOMAIN
from pomt_trt.host.precision import bf16

IMAGES = 4
TOLERANCE = {**parity.TOLERANCE, "fp32": 1e-4}  # of the median image's logits, relative to its largest
NARROW = {TensorProto.FLOAT16: "fp16", TensorProto.BFLOAT16: "bf16"}
PACKAGES = ("onnx", "polygraphy", "onnxslim", "openvino", "onnxruntime")

Tool = Callable[[Path, np.ndarray], np.ndarray | None]  # (graph, image batches) -> logits, where it runs graphs


class Opening(NamedTuple):
    """One graph in one tool."""

    graph: Path
    tool: str
    refusal: str  # empty where it opened, and computes what ONNX Runtime computes

    @property
    def worked(self) -> bool:
        """Whether there is nothing to say against it."""
        return not self.refusal


def graphs_below(folder: Path) -> list[Path]:
    """Every ONNX graph below a folder but those with a plugin's node, which only TensorRT knows."""
    paths = sorted(folder.resolve().rglob("*.onnx"))
    return [path for path in paths if not any(node.domain == PLUGIN_DOMAIN for node in _bare(path).graph.node)]


def openings(graphs: Sequence[Path], progress: Callable[[Path], None] = lambda path: None) -> list[Opening]:
    """Each graph in each tool.

    Args:
        graphs: absolute paths.
        progress: called with each graph before it is opened.
    """
    results: list[Opening] = []
    for path in graphs:
        progress(path)
        with _elsewhere():
            results += _openings_of(path)
    return results


def _openings_of(path: Path) -> Iterator[Opening]:
    images = _images(path)
    precision = next((NARROW[t.data_type] for t in _bare(path).graph.initializer if t.data_type in NARROW), "fp32")
    expected = None
    for name, tool in TOOLS.items():
        try:
            with _quietly():
                logits = tool(path, images)
        except Exception as error:
            yield Opening(path, name, " ".join(f"{type(error).__name__}: {error}".split())[:300])
            continue
        if logits is not None and expected is None:
            expected = logits
        yield Opening(path, name, "" if logits is None else _difference(logits, expected, TOLERANCE[precision]))


def _difference(logits: np.ndarray, expected: np.ndarray | None, allowed: float) -> str:
    assert expected is not None
    error = parity.compare(logits, expected).error
    return "" if error <= allowed else f"logits differ from ONNX Runtime's by {error:.1e}, {allowed:.0e} is allowed"


def _load(path: Path, images: np.ndarray) -> None:
    onnx.load(path)


def _check(path: Path, images: np.ndarray) -> None:
    onnx.checker.check_model(path, full_check=True)


def _infer_shapes(path: Path, images: np.ndarray) -> None:
    onnx.shape_inference.infer_shapes_path(path, "inferred.onnx", check_type=True, strict_mode=True, data_prop=True)


def _inspect(path: Path, images: np.ndarray) -> None:
    _polygraphy("inspect", "model", str(path), "--show", "layers", "weights")


def _sanitize(path: Path, images: np.ndarray) -> None:
    _polygraphy("surgeon", "sanitize", str(path), "--fold-constants", "--cleanup", "--output", "sane.onnx")


def _onnxruntime(path: Path, images: np.ndarray) -> np.ndarray:
    return _run(path, images)


def _onnxslim(path: Path, images: np.ndarray) -> np.ndarray:
    onnxslim.slim(str(path), "slim.onnx")
    return _run(Path("slim.onnx"), images)


def _openvino(path: Path, images: np.ndarray) -> np.ndarray:
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.concatenate([compiled(batch)[0] for batch in images])


TOOLS: dict[str, Tool] = {
    "onnx.load": _load,
    "onnx.checker, full": _check,
    "onnx.shape_inference": _infer_shapes,
    "polygraphy inspect": _inspect,
    "polygraphy sanitize": _sanitize,
    "ONNX Runtime": _onnxruntime,  # the first that runs a graph is what the others are compared with
    "onnxslim": _onnxslim,
    "OpenVINO": _openvino,
}


def _polygraphy(*words: str) -> None:
    code = polygraphy([*words])
    if code:
        raise ValueError(f"polygraphy {words[0]} {words[1]} ended with exit code {code}")


def _run(path: Path, images: np.ndarray) -> np.ndarray:
    """Logits on ONNX Runtime's CPU, which has no arithmetic in bf16: see host/precision/bf16 for what it runs then."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    model = _bare(path)
    bf16.make_runnable(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": batch})[0] for batch in images])


def _images(path: Path) -> np.ndarray:
    """(batches, batch, channels, height, width) of normal noise, of the graph's input."""
    shape = [dim.dim_value for dim in _bare(path).graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(0).standard_normal((IMAGES, *shape), np.float32)


def _bare(path: Path) -> onnx.ModelProto:
    return onnx.load(path, load_external_data=False)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the pages that some tools print, and their own deprecations."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """A folder of its own as the working directory."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def table(results: Sequence[Opening], root: Path) -> str:
    """A Markdown table, a line a tool: how many graphs of each folder it opens; then what was refused."""
    folders = sorted({one.graph.parent for one in results})
    lines = ["| tool | " + " | ".join(os.path.relpath(folder, root) for folder in folders) + " |"]
    lines.append("|---" * (len(folders) + 1) + "|")
    for tool in TOOLS:
        rows = [[one for one in results if one.tool == tool and one.graph.parent == folder] for folder in folders]
        lines.append(f"| {tool} | " + " | ".join(f"{sum(r.worked for r in row)} of {len(row)}" for row in rows) + " |")
    lines += [f"{os.path.relpath(one.graph, root)}: {one.tool}: {one.refusal}" for one in results if not one.worked]
    return "\n".join([*lines, ", ".join(f"{name} {version(name)}" for name in PACKAGES)])


def check(folder: Path, as_json: bool) -> None:
    """Raises VerificationFailed where a tool refuses a graph."""
    graphs = graphs_below(folder)
    if not graphs:
        raise InputError(f"there is no ONNX graph below {folder}. Name a work folder or a bundle.")
    results = openings(graphs, lambda path: print(path, file=sys.stderr))
    if as_json:
        print(json.dumps([{**one._asdict(), "graph": str(one.graph)} for one in results], indent=1))
    else:
        print(table(results, folder.resolve()))
    refused = [one for one in results if not one.worked]
    if refused:
        raise VerificationFailed(
            f"{len(refused)} of {len(results)} openings failed, for the reasons above. Export the graphs again; if it "
            "stays, report it."
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    complain = lambda text: print(f"onnx_tools: {text}", file=sys.stderr)  # noqa: E731
    sys.exit(exit_code_of(lambda: check(given.folder, given.json), complain, "interrupted"))
