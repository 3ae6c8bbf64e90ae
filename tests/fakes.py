"""Small stand-ins that tests share: manifests of made-up files, and a real bundle of a four-class model.

The four classes are the quadrants of an 8x8 grey picture: the brightest one wins. The reduced engine halves the last
quadrant's weight, so that it is sometimes wrong. Graphs: tests/data/quadrants, opset 13, IR 7, sharing weights.bin.
"""

import contextlib
import os
import resource
import shutil

import numpy as np
from PIL import Image

from pomt_trt.core.records import (
    Bundle,
    Candidate,
    DeviceSpec,
    Engine,
    LatencyProfile,
    ModelSpec,
    Preprocessing,
    Row,
    Selection,
)
from pomt_trt.core.schedules import schedule
from pomt_trt.core.storage import bundle as bundles
from pomt_trt.core.storage import store

GRAPHS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "quadrants")
DEVICE = DeviceSpec("ort-any-2c", "x86_64", "onnxruntime", "1.10.0", "a processor", 2, 1 << 30)


def quadrant_weights(name):
    """(64, 4) of the graph of a candidate: its logits are a picture's pixels times these."""
    weights = np.fromfile(os.path.join(GRAPHS, "weights.bin"), np.float32)
    return weights[{"r000": 0, "r004": 256}[name] :][:256].reshape(64, 4)


@contextlib.contextmanager
def files_at_most(size_bytes):
    """No file of this process and its children may grow beyond that: the system refuses, as where a disk is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def known(candidate_id, latency_ms, half_width=0.005):
    """A LatencyProfile of which only the latency matters."""
    interval = (latency_ms * (1 - half_width), latency_ms * (1 + half_width))
    setting, times = ("0" * 64, 2, "default", None), [latency_ms] * 5
    sampling = (((latency_ms,),), (1.0,), 1.0, "settled", 0.75, "stable", {})
    return LatencyProfile(candidate_id, DEVICE.id, *setting, latency_ms, interval, *times, *sampling)


def quadrant_model(weights="checkpoint", labels=("upper left", "upper right", "lower left", "lower right")):
    preprocessing = Preprocessing(8, 8, 1, (0.5,), (0.5,), "bilinear", 1.0, "center")
    return ModelSpec("quadrants", "vit", weights, 2, 8, 2, 16, 1, 4, preprocessing, None, tuple(labels))


def manifest(engine, unreduced_engine, batch=1, model=None):
    """A Bundle around two Engine records; R = 4 is chosen, and the host expects 0.75 of it."""
    reduced = Candidate("topk", schedule.single_layer(17, 2, 1, 0, 4), batch)
    unreduced = Candidate("topk", schedule.constant(17, 2, 1), batch)
    rows = (
        Row("r000", 17, 17, 0, 2.0, (1.9, 2.1), 1.0, (0.9, 1.0), 0.0, (-0.1, 0.1), 1.0, "measured", "stable"),
        Row("r004", 17, 13, 4, 1, (0.9, 1.1), 0.75, (0.6, 0.9), 0.25, (0.1, 0.4), 1.1, "measured", "stable"),
    )
    limits = {"max_latency_ms": None, "max_accuracy_drop": 0.01}
    selection = Selection(
        "step", "step", DEVICE.id, "top1", "host-fp32", limits, rows[0], rows[1], (), rows, ("r000", "r004"), ()
    )
    return Bundle(
        model or quadrant_model(), "topk", 0, reduced, unreduced, engine, unreduced_engine, "op13-fp32", selection, {}
    )


def made_up_sources(folder):
    """Files that nobody decodes, and the manifest that fits them."""
    os.makedirs(str(folder), exist_ok=True)
    sources = {}
    for name in ("r004.engine", "r000.engine", "r004.onnx", "r000.onnx", "weights.bin", "golden.npz", "labels.txt"):
        sources[name] = os.path.join(str(folder), "source-of-" + name)
        with open(sources[name], "wb") as file:
            file.write((name + "\n").encode() * 3)
    return sources, manifest(_record(sources, "r004"), _record(sources, "r000"))


def made_up_engine():
    """An engine of no file."""
    return Engine("r004", DEVICE, "r004.engine", "0" * 64, 0, None, (1, 1, 8, 8), 2, 1)


def _record(sources, candidate_id):
    name = candidate_id + ".engine"
    engine, weights = (store.sha256_of(sources[file]) for file in (name, "weights.bin"))
    return Engine(candidate_id, DEVICE, name, engine, os.path.getsize(sources[name]), weights, (1, 1, 8, 8), 2, 1)


def quadrant_bundle(folder, batch=1, model=None):
    """A bundle with real engines for this machine; returns its path."""
    from pomt_trt.device.board import board
    from pomt_trt.device.engines import contract
    from pomt_trt.device.engines import engine as engines

    work = os.path.join(str(folder), "work-b{}".format(batch))
    os.makedirs(work)
    sources, records = {}, {}
    shutil.copy(os.path.join(GRAPHS, "weights.bin"), work)
    for name in ("r000", "r004"):
        graph = os.path.join(work, name + ".onnx")
        shutil.copy(os.path.join(GRAPHS, "{}-b{}.onnx".format(name, batch)), graph)
        options = contract.BuildOptions(threads=1)
        target = os.path.join(work, name + ".engine")
        records[name] = engines.build(graph, target, board.device_spec("onnxruntime"), name, options)
        sources[name + ".onnx"], sources[name + ".engine"] = graph, target
    sources["weights.bin"] = os.path.join(work, "weights.bin")
    path = os.path.join(str(folder), "bundle-b{}".format(batch))
    bundles.pack(path, manifest(records["r004"], records["r000"], batch, model), sources)
    return path


def picture(brightest, brightness=255, size=16):
    """A grey picture whose quadrant `brightest` has the given brightness, the others 140."""
    pixels = np.full((size, size), 140, np.uint8)
    half = size // 2
    top, left = half * (brightest // 2), half * (brightest % 2)
    pixels[top : top + half, left : left + half] = brightness
    return Image.fromarray(pixels)
