"""Records exhaustive latency curves of a model on a GPU: PyTorch's kernels, not TensorRT's.

usage: scripts/bench gpu_curves deit_small_patch16_224 --out DIR [--batch-size 1 4 8] [--data DIR] [--samples 200]

For every count from R = 0 down to a quarter, the reduced model in float16 becomes one static CUDA graph. All graphs of
a batch size take turns, in another order each round; a sample is the mean of a few replays, timed by CUDA events: the
GPU's own time, without copies. Accuracy is what the float16 modules answer on --data: agreement with R = 0 where the
images have no labels or the weights are random. Writes DIR/MODEL-bBATCH.json.gz in the format that `pomt-trt replay`
reads. They give the search real steps of a GPU; of a Jetson, or of an engine, they say nothing.
"""

import argparse
import gzip
import json
import logging
import random
from pathlib import Path

import torch

from pomt_trt.core.storage import store
from pomt_trt.host import reducers
from pomt_trt.host.data import image_batches
from pomt_trt.host.models import loading, token_reduction

log = logging.getLogger("gpu_curves")

IMAGES_AT_ONCE = 50
WARM_UP_ROUNDS = 2  # of all graphs: clocks rise, caches fill


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a timm name or local-dir:PATH")
    parser.add_argument("--out", type=Path, required=True, help="folder for the curves")
    parser.add_argument("--method", default="pomt", help="that removes tokens (pomt)")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1, 4, 8], help="images in a run (1 4 8)")
    parser.add_argument("--data", help="images, with labels or without")
    parser.add_argument("--samples", type=int, default=200, help="images at most (200)")
    parser.add_argument("--rounds", type=int, default=30, help="samples of each count (30)")
    parser.add_argument("--replays", type=int, default=5, help="that make a sample (5)")
    parser.add_argument("--step", type=int, default=1, help="between counts (1: all of them)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, images and turns (0)")
    return parser.parse_args(argv)


def candidates(loaded: loading.Loaded, method: str, step: int) -> list[torch.nn.Module]:
    """The reduced modules by falling counts, in float16 on the GPU; parameters are shared."""
    spec = loaded.spec
    tokens = spec.patch_tokens + spec.prefix_tokens
    vit = loaded.module.cuda().half()
    shape = reducers.Shape(tokens, spec.depth, spec.prefix_tokens)
    schedules = [reducers.schedule_for(method, shape, r) for r in range(0, spec.patch_tokens * 3 // 4 + 1, step)]
    return [token_reduction.with_schedule(vit, method, schedule).cuda().half() for schedule in schedules]


@torch.inference_mode()
def accuracies(
    modules: list[torch.nn.Module], images: image_batches.Images, expected: torch.Tensor | None
) -> list[float]:
    """Share of answers (n,) that are as expected; None: as the first module's."""
    shares = []
    for module in modules:
        answers = [module(batch.cuda().half()).argmax(1).cpu() for batch in images.batches(IMAGES_AT_ONCE)]
        answer = torch.cat(answers)
        expected = answer if expected is None else expected
        shares.append((answer == expected).double().mean().item())
    return shares


class Captured:
    """One module on one input as a CUDA graph; graphs that share `pool` must not run at the same time."""

    def __init__(self, module: torch.nn.Module, image: torch.Tensor, pool: tuple[int, int]) -> None:
        with torch.inference_mode():
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(2):  # libraries choose and allocate before the capture
                    module(image)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, pool=pool):
                self._out = module(image)
        self._ends = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def sample_ms(self, replays: int) -> float:
        """Mean of some replays in a row, after one that is not timed."""
        start, end = self._ends
        self._graph.replay()
        start.record()
        for _ in range(replays):
            self._graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / replays


def timed(modules: list[torch.nn.Module], image: torch.Tensor, options: argparse.Namespace) -> list[list[float]]:
    """Samples of each, milliseconds."""
    pool = torch.cuda.graph_pool_handle()
    graphs = [Captured(module, image, pool) for module in modules]
    samples: list[list[float]] = [[] for _ in graphs]
    lot = random.Random(options.seed)
    for number in range(WARM_UP_ROUNDS + options.rounds):
        for place in lot.sample(range(len(graphs)), len(graphs)):
            sample_ms = graphs[place].sample_ms(options.replays)
            if number >= WARM_UP_ROUNDS:
                samples[place].append(round(sample_ms, 5))
    return samples


def main(argv: list[str]) -> None:
    options = parse_arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    loaded = loading.load(options.model, seed=options.seed)
    images = image_batches.load(options.data, loaded.spec, options.samples, options.seed)
    modules = candidates(loaded, options.method, options.step)
    log.info("%d counts", len(modules))
    accuracy = accuracies(modules, images, None if loaded.spec.weights.startswith("random") else images.labels)
    log.info("accuracy on %d images: %.4f to %.4f", len(images), accuracy[0], accuracy[-1])
    look = loaded.spec.preprocessing
    for batch_size in options.batch_size:
        image = torch.rand(batch_size, look.channels, look.height, look.width).cuda().half()
        samples = timed(modules, image, options)
        rows = zip(modules, samples, accuracy, strict=True)
        points = [{"tokens": m.schedule.tokens_after, "latency_ms": ms, "accuracy": a} for m, ms, a in rows]
        about = {"batch_size": batch_size, "device": torch.cuda.get_device_name(), "torch": torch.__version__}
        curve = {**about, "kind": "float16 PyTorch kernels in a static CUDA graph, not TensorRT", "points": points}
        path = options.out / f"{Path(options.model).name}-b{batch_size}.json.gz"
        store.write_bytes(str(path), gzip.compress(json.dumps(curve).encode(), mtime=0))
        log.info("%s: R = 0 %.4f ms, last %.4f ms", path.name, min(samples[0]), min(samples[-1]))
