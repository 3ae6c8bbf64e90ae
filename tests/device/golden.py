"""A bundle of the quadrants model with golden inputs, and ways to make it wrong or another device's."""

import os

import numpy as np

from pomt_trt.core.storage import bundle as bundles
from pomt_trt.device.deploy import predictor
from pomt_trt.device.deploy.preprocess import normalise
from pomt_trt.device.engines import contract, onnxruntime
from pomt_trt.device.engines import engine as engines
from tests import fakes

IMAGES = 12


def quadrant_bundle(folder):
    """fakes.quadrant_bundle with golden.npz and r004.npz, which ONNX Runtime computed from the source graphs."""
    plain = fakes.quadrant_bundle(folder)
    manifest = bundles.open_bundle(plain)
    pixels = np.random.RandomState(0).randint(256, size=(IMAGES, 8, 8, 1)).astype(np.uint8)
    images = normalise(pixels, manifest.model.preprocessing)
    logits = {}
    for name in ("r000", "r004"):
        with onnxruntime.open_file(os.path.join(plain, name + ".onnx"), manifest.engine, 1, "passive", False) as runner:
            logits[name] = predictor.run(runner, images)
    golden, reduced = (os.path.join(str(folder), name) for name in ("golden.npz", "r004.npz"))
    np.savez(golden, pixels=pixels, logits=logits["r000"])
    np.savez(reduced, logits=logits["r004"], margins=np.full(IMAGES, 0.5))
    return repacked(plain, manifest, **{"golden.npz": golden, "r004.npz": reduced})


def tensorrt_bundle(folder, device):
    """quadrant_bundle with engines of the TensorRT that stands in here."""
    bundle = quadrant_bundle(folder)
    manifest = bundles.open_bundle(bundle)
    made, files = {}, {}
    for name in ("r000", "r004"):
        path = os.path.join(str(folder), name + ".engine")
        made[name] = engines.build(os.path.join(bundle, name + ".onnx"), path, device, name, contract.BuildOptions())
        files[name + ".engine"] = path
    selection = manifest.selection._replace(device_id=device.id)
    changed = manifest._replace(engine=made["r004"], unreduced_engine=made["r000"], selection=selection)
    return repacked(bundle, changed, **files)


def repacked(bundle, manifest, **more):
    """The bundle with another manifest and more files, or others of their names; None leaves one out."""
    sources = {name: os.path.join(bundle, name) for name in bundles.open_bundle(bundle).files}
    sources.update(more)
    bundles.pack(bundle, manifest, {name: path for name, path in sources.items() if path is not None})
    return bundle


def with_wrong_engine(bundle):
    """The engine of R = 0 stands where that of R = 4 belongs."""
    manifest = bundles.open_bundle(bundle)
    wrong = manifest.unreduced_engine._replace(candidate_id="r004", file="r004.engine")
    path = os.path.join(bundle, "r000.engine")
    return repacked(bundle, manifest._replace(engine=wrong), **{"r004.engine": path})


def of_another_device(bundle):
    """Both engines were built by another release on another processor, where the choice was made, too."""
    manifest = bundles.open_bundle(bundle)
    device = manifest.engine.device._replace(id="ort-elsewhere", engine_version="0.1", processor="another processor")
    engines = [engine._replace(device=device) for engine in (manifest.engine, manifest.unreduced_engine)]
    selection = manifest.selection._replace(device_id=device.id)
    return repacked(bundle, manifest._replace(engine=engines[0], unreduced_engine=engines[1], selection=selection))
