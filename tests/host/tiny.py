"""Tiny vision transformers of every kind that is supported, and their export plans: seconds, not minutes."""

from pathlib import Path
from typing import NamedTuple

import onnx
import torch
from onnx import numpy_helper
from timm.layers import RmsNorm, SwiGLUPacked
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer

from pomt_trt.core.records import Family, ModelSpec
from pomt_trt.core.targets import named
from pomt_trt.host.data import image_batches
from pomt_trt.host.graphs import comparison, editing, export
from pomt_trt.host.models import loading
from pomt_trt.host.reducers.common.learned import Scorers, Thresholds

SMALL = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "num_heads": 3, "num_classes": 5, "depth": 4}
KINDS = {
    "plain": {},
    "distilled": {"distilled": True},
    "registers": {"reg_tokens": 4},
    "average pooling": {"global_pool": "avg"},
    "average pooling, no class token": {"global_pool": "avg", "class_token": False},
    "LayerScale, query and key norm": {"init_values": 0.1, "qk_norm": True},
    "RMSNorm and SwiGLU": {"norm_layer": RmsNorm, "qk_norm": True, "mlp_layer": SwiGLUPacked},
}
TARGETS = {13: "jetpack-4.6.1", 17: "onnxruntime"}
IMAGES = 8


def vit(**kwargs):
    """A random ViT of 16 patches and 4 blocks whose attention is not flat."""
    torch.manual_seed(0)
    kind = VisionTransformerDistilled if kwargs.pop("distilled", False) else VisionTransformer
    model = kind(**{**SMALL, **kwargs}, qkv_bias=True).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model


def dinov2(folder):
    """LayerScale and no classifier, but a linear head on the class token beside the mean of the patches."""
    path = str(folder / "linear.pth")
    torch.save({"weight": torch.randn(5, 48, generator=torch.Generator().manual_seed(1)), "bias": torch.ones(5)}, path)
    return loading.load(vit(init_values=0.1, num_classes=0), head=path).module


def learned(method, depth=4, width=24, llf=True):
    """Made-up parameters of a method that learns some: blocks differ, and the last merges and prunes nothing."""
    if method == "ltmp":
        zeros = (0.0,) * depth
        means = [tuple(base * (depth - 1 - block) for block in range(depth)) for base in (0.5, 0.9)]
        return Thresholds((0.9,) * depth, (0.01,) * depth, *means, zeros, zeros)
    if method == "cropr":
        generator = torch.Generator().manual_seed(3)
        return Scorers(torch.randn(depth - (2 if llf else 1), width, generator=generator), llf)
    return None


def plan(model, method="pomt", layer=None, batch_size=1, opset=17, target=None, llf=True, **how):
    """(plan, spec, images) of a model; without `target`, of one that reads the opset. `how`: other fields of Plan."""
    module, spec = loading.load(model)
    known = learned(method, spec.depth, spec.width, llf)
    made = export.Plan(module, method, layer, batch_size, 0, named(target or TARGETS[opset]), learned=known, **how)
    return made, spec, image_batches.load(None, spec, IMAGES, 0)


def grid(made, spec, removed):
    """Candidates of the plan."""
    return export.candidates(made, spec.tokens, spec.depth, spec.prefix_tokens, removed)


class Exported(NamedTuple):
    """A graph set, and what it was made of."""

    plan: export.Plan
    spec: ModelSpec
    images: image_batches.Images
    family: Family
    folder: Path  # of the graphs

    @property
    def batch(self):
        """All images, normalised."""
        return next(self.images.batches(IMAGES))

    @property
    def reduced(self):
        """The candidate that removes most."""
        return self.family.candidates[-1]

    def path(self, candidate):
        return self.folder / f"{candidate.id}.onnx"

    def graph(self, candidate, weights=False):
        return onnx.load(str(self.path(candidate)), load_external_data=weights)

    def logits(self, candidate, batch=None):
        """On ONNX Runtime."""
        return comparison.run_onnx(
            self.path(candidate), (self.batch if batch is None else batch).numpy(), self.plan.batch_size
        )

    def expected(self, candidate):
        """PyTorch's logits and margins."""
        return comparison.logits_and_margins(self.plan.reduced(candidate.schedule), self.batch, self.plan.batch_size)


def exported(work, model, removed, method="pomt", **how):
    """The graph set of some numbers of removed tokens, written under `work`; `how` as in `plan`."""
    made, spec, images = plan(model, method, **how)
    family = export.export(made, grid(made, spec, removed), images, work)
    return Exported(made, spec, images, family, work / "onnx" / family.form)


def whole(traced):
    """The graph of a trace with its weights put back."""
    model = editing.copied(traced.graph)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in traced.weights.items())
    return model


def small(seed=0, **changes):
    """A vision transformer of 4 patches and 2 blocks, with random weights."""
    torch.manual_seed(seed)
    sizes = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 5}
    return VisionTransformer(**{**sizes, **changes}).eval()


def logits(module, seed=1):
    """Of two random pictures."""
    generator = torch.Generator().manual_seed(seed)
    height, width = module.patch_embed.img_size
    with torch.no_grad():
        return module(torch.randn(2, 3, height, width, generator=generator))
