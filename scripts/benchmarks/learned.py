"""What training gained on a bundled model: learned methods beside untrained ones with as many tokens.

On the held-out quarter, which no training has seen, with 95 % intervals of accuracies and of paired differences: top-1
(Wilson, Tango), or in segmentation mIoU (resampled images). LTMP: the learned thresholds as they run (dynamic), with
their mean counts (static); one merge threshold for all blocks that costs as much; a constant number of merges a block,
as ToMe has it, that costs as much. Cropr: the learned vectors, and random ones.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file

from pomt_trt.core.metrics import accuracy
from pomt_trt.core.storage.learned import ZOO
from pomt_trt.host.data.bundled import BUNDLED
from pomt_trt.host.data.image_batches import normalised
from pomt_trt.host.models import loading
from pomt_trt.host.training.calibration import whole_counts
from pomt_trt.host.training.cropr import Cropr
from pomt_trt.host.training.dynamic import Counts, Removed, Thresholds, run
from pomt_trt.host.training.objective import objective_of

AT_ONCE = 32
CALIBRATION_IMAGES = 128  # on which costs are made equal
RANDOM_SCORERS = 5
CALIBRATION_PLACES = 3_000_000  # a seed of places that no training uses


class Test(NamedTuple):
    """The held-out pictures of a model."""

    spec: Any
    images: torch.Tensor  # (n, C, H, W), normalised
    labels: np.ndarray


def pictures(drawn: tuple[np.ndarray, np.ndarray], spec: Any) -> Test:
    return Test(spec, normalised(drawn[0][..., None], spec.preprocessing), drawn[1])


def reduced(vit, cuts, images: torch.Tensor) -> tuple[np.ndarray, float, list[float]]:
    """Logits (n, classes), the share of the blocks' multiply-adds that is left, and mean tokens after each block."""
    parts = [run(vit, cuts, part) for part in images.split(AT_ONCE)]
    removed = Removed(*(torch.cat(column) for column in zip(*(part[1] for part in parts), strict=True)))
    gone = (removed.merged + removed.pruned).cumsum(1).double()
    whole = vit.patch_embed.num_patches + vit.num_prefix_tokens
    after = whole - gone
    before = torch.cat([torch.full_like(after[:, :1], whole), after[:, :-1]], 1)
    logits = torch.cat([part[0] for part in parts]).numpy()
    return logits, float(cost(before, after, whole, vit.embed_dim)), after.mean(0).tolist()


def cost(before: torch.Tensor, after: torch.Tensor, tokens: int, channels: int) -> torch.Tensor:
    """Per image and block, then their mean: the formula that training has, on whole tokens."""
    macs = 2 * before * channels**2 + before**2 * channels + 4 * after * channels**2
    return macs.mean() / (6 * tokens * channels**2 + tokens**2 * channels)


def bisected(at: Callable[[float], float], low: float, high: float, wanted: float, rounds: int = 12) -> float:
    """Where the rising function `at` is nearest to `wanted`."""
    for _ in range(rounds):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) < wanted else (low, middle)
    return (low + high) / 2


def constant_merges(merged: int, depth: int, patches: int) -> list[Counts]:
    """As ToMe's constant r: as many in each block, or half of what is there."""
    counts = []
    for _ in range(depth):
        counts.append(Counts(min(merged, patches // 2), 0))
        patches -= counts[-1].merged
    return counts


def line(name: str, logits: np.ndarray, test: Test, against: np.ndarray | None = None) -> None:
    """Accuracy, and how much better than `against` on the same pictures."""
    reference = logits if against is None else against
    kind, look = accuracy.kind_of(test.spec, labelled=True), test.spec.preprocessing
    paired = accuracy.paired(kind, look, reference, logits, test.labels, name, "host-fp32")
    low, high = (100 * end for end in paired.accuracy_ci)
    text = f"{name:<46} {100 * paired.accuracy:6.2f} % [{low:.2f}, {high:.2f}]"
    if against is not None:
        high, low = (-100 * end for end in paired.drop_ci)
        text += f"  gain {-100 * paired.drop:+.2f} [{low:+.2f}, {high:+.2f}] points"
    print(text, flush=True)


def ltmp(folder: Path, vit: Any, test: Test) -> None:
    learned = load_file(folder / "ltmp.safetensors")
    thresholds = [Thresholds(*pair) for pair in zip(learned["merge"].tolist(), learned["prune"].tolist(), strict=True)]
    means = list(zip(learned["merged_mean"].tolist(), learned["pruned_mean"].tolist(), strict=True))
    static = whole_counts(means, vit.patch_embed.num_patches)
    drawn = BUNDLED[test.spec.name](CALIBRATION_PLACES, held_out=False)
    calibration = pictures(drawn, test.spec).images[:CALIBRATION_IMAGES]
    wanted = reduced(vit, thresholds, calibration)[1]
    depth = len(vit.blocks)

    def uniform(merge: float) -> list[Thresholds]:
        return [Thresholds(merge, 0.0)] * depth

    merge = bisected(lambda merge: reduced(vit, uniform(merge), calibration)[1], 0.0, 1.0, wanted)
    patches = vit.patch_embed.num_patches
    constant = [constant_merges(merged, depth, patches) for merged in range(1, patches // 2 + 1)]
    nearest = min(constant, key=lambda cuts: abs(reduced(vit, cuts, calibration[:1])[1] - wanted))
    dynamic = reduced(vit, thresholds, test.images)
    others = {
        "LTMP, learned, static": static,
        f"one merge threshold ({merge:.4f}), untrained": uniform(merge),
        f"{nearest[0].merged} merges a block (as ToMe), untrained": nearest,
    }
    print(f"cost left on calibration pictures: {wanted:.3f}; tokens after each block, held-out pictures:")
    print("  dynamic", *(f"{count:.1f}" for count in dynamic[2]), f"cost {dynamic[1]:.3f}")
    line("LTMP, learned, dynamic", dynamic[0], test)
    for name, cuts in others.items():
        logits, left, after = reduced(vit, cuts, test.images)
        print(" ", name, *(f"{count:.1f}" for count in after), f"cost {left:.3f}")
        line(name, logits, test)
        line("  learned, dynamic, against it", dynamic[0], test, logits)
        if name.endswith("untrained"):
            line("  learned, static, against it", reduced(vit, static, test.images)[0], test, logits)


@torch.no_grad()
def cropr(folder: Path, vit: Any, test: Test, removed: int) -> None:
    trained = (folder / "model.safetensors").exists()
    vit = loading.load(f"local-dir:{folder.resolve()}").module if trained else vit
    vectors = load_file(folder / "cropr.safetensors")["scorers"]
    trainee = Cropr(vit, removed, llf=len(vectors) == len(vit.blocks) - 2).eval()

    def predict(scorers: torch.Tensor) -> np.ndarray:
        for scorer, vector in zip(trainee.scorers, scorers, strict=True):
            scorer.queries.copy_(vector.expand_as(scorer.queries))
        return torch.cat([trainee.predict(part) for part in test.images.split(AT_ONCE)]).numpy()

    learned = predict(vectors)
    line(f"Cropr, R = {removed}, learned", learned, test)
    for seed in range(RANDOM_SCORERS):
        drawn = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(seed))
        other = predict(drawn)
        line(f"Cropr, R = {removed}, random vectors, seed {seed}", other, test)
        line("  learned, against it", learned, test, other)


@torch.no_grad()
def all_tokens(vit: Any, test: Test) -> np.ndarray:
    """Logits of the unreduced model."""
    objective = objective_of(vit)
    return torch.cat([objective.logits(vit(part)) for part in test.images.split(AT_ONCE)]).numpy()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits", choices=list(BUNDLED), help="(digits)")
    parser.add_argument("--ltmp", type=Path, metavar="DIR", help="folder that holds ltmp.safetensors")
    parser.add_argument("--cropr", type=Path, metavar="DIR", help="folder that holds cropr.safetensors")
    parser.add_argument("--removed", type=int, nargs="+", default=[16], metavar="R", help="Cropr's, in each block (16)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; they change the last bits (1)")
    arguments = parser.parse_args(argv)
    if not arguments.ltmp and not arguments.cropr:
        zoo = Path(ZOO, arguments.model)
        arguments.cropr = zoo
        arguments.ltmp = zoo if (zoo / "ltmp.safetensors").exists() else None
    torch.set_num_threads(arguments.threads)
    vit, spec = loading.load(arguments.model)
    test = pictures(BUNDLED[arguments.model](held_out=True), spec)
    line("all tokens", all_tokens(vit, test), test)
    if arguments.ltmp:
        ltmp(arguments.ltmp, vit, test)
    for removed in arguments.removed if arguments.cropr else []:
        cropr(arguments.cropr, vit, test, removed)
