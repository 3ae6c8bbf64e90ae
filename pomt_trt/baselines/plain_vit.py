"""A plain vision transformer in torch alone, whose parameters have timm's names.

Its modules are those of timm's ViT, idle ones included. Why: on a board, eager's latency is mostly that of the calls.
Needs torch 1.8 or later and Python 3.6 or later.
"""

from typing import Any, Dict, Tuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pomt_trt.core.records import ModelSpec, PlainModel

FUSED = hasattr(functional, "scaled_dot_product_attention")  # from torch 2.0 on
PREFIX = ("cls_token", "dist_token", "reg_token")  # in their order
Shapes = Dict[str, Tuple[int, ...]]  # of the parameters, by name


def logits(model: "Vit", image: np.ndarray) -> np.ndarray:
    """Host array (B, channels, H, W) float32 -> host logits float32, (B, classes) or (B, classes, rows, columns)."""
    weight = model.patch_embed.proj.weight
    with getattr(torch, "inference_mode", torch.no_grad)():
        output = model(torch.from_numpy(image).to(weight.device, weight.dtype))
        return output.float().cpu().numpy()  # type: ignore[no-any-return]


class Vit(nn.Module):
    """A vision transformer. Its optional parts exist if `shapes` has their parameters."""

    pos_embed: Any
    dist_token: Any

    def __init__(self, spec: ModelSpec, plain: PlainModel, shapes: Shapes) -> None:
        super().__init__()
        self.pooling, self.pools_prefix, self.prefix_tokens = plain.pooling, plain.pools_prefix, spec.prefix_tokens
        self.patch_embed = PatchEmbed(shapes, plain.norm_eps)
        for name in PREFIX + ("pos_embed",):
            self.register_parameter(name, nn.Parameter(torch.empty(shapes[name])) if name in shapes else None)
        self.positions_with_prefix = shapes.get("pos_embed", (1, 0))[1] == spec.tokens
        self.pos_drop, self.patch_drop = nn.Dropout(0.0), nn.Identity()
        self.norm_pre = _norm(shapes, "norm_pre", plain.norm_eps)
        self.blocks = nn.Sequential(*[Block(shapes, "blocks.{}.".format(i), spec, plain) for i in range(spec.depth)])
        self.norm = _norm(shapes, "norm", plain.norm_eps)
        self.fc_norm = _norm(shapes, "fc_norm", plain.norm_eps)
        self.head_drop = nn.Dropout(0.0)
        self.head, self.head_dist = _linear(shapes, "head"), _linear(shapes, "head_dist")

    def forward(self, image: Any) -> Any:
        """Normalised images (B, channels, H, W) -> logits (B, classes); without pooling (B, classes, rows, columns)."""
        x = self._sequence(self.patch_embed(image))  # (B, N, C)
        x = self.blocks(self.norm_pre(self.patch_drop(x)))
        x = self.norm(x)
        if self.dist_token is not None:
            return (self.head(self.head_drop(x[:, 0])) + self.head_dist(self.head_drop(x[:, 1]))) / 2
        if not self.pooling:
            patches = self.head(self.head_drop(self.fc_norm(x[:, self.prefix_tokens :])))  # (B, n, classes)
            rows = image.shape[2] // self.patch_embed.proj.kernel_size[0]
            return patches.transpose(1, 2).reshape(len(image), patches.shape[2], rows, -1)
        return self.head(self.head_drop(self.fc_norm(self._pooled(x))))

    def _sequence(self, patches: Any) -> Any:
        """Prefix tokens before the patches (B, patches, C), and positions added to both or to the patches alone."""
        tokens = [getattr(self, name) for name in PREFIX]
        prefix = [token.expand(len(patches), -1, -1) for token in tokens if token is not None]
        if self.pos_embed is None:
            return torch.cat(prefix + [patches], dim=1)
        if self.positions_with_prefix:
            sequence = torch.cat(prefix + [patches], dim=1) if prefix else patches
            return self.pos_drop(sequence + self.pos_embed)
        return self.pos_drop(torch.cat(prefix + [patches + self.pos_embed], dim=1))

    def _pooled(self, x: Any) -> Any:
        """(B, N, C) -> (B, C), or (B, 2 C) for a head on the class token beside the mean."""
        if self.pooling == "token":
            return x[:, 0]
        if self.pooling == "token_and_avg":
            return torch.cat([x[:, 0], x[:, self.prefix_tokens :].mean(dim=1)], dim=1)
        kept = x if self.pools_prefix else x[:, self.prefix_tokens :]
        if self.pooling == "avgmax":
            return 0.5 * (kept.amax(dim=1) + kept.mean(dim=1))
        return kept.mean(dim=1) if self.pooling == "avg" else kept.amax(dim=1)


class PatchEmbed(nn.Module):
    """Image -> one token a patch."""

    def __init__(self, shapes: Shapes, eps: float) -> None:
        super().__init__()
        width, channels, height, across = shapes["patch_embed.proj.weight"]
        bias, size = "patch_embed.proj.bias" in shapes, (height, across)
        self.proj = nn.Conv2d(channels, width, kernel_size=size, stride=size, bias=bias)
        self.norm = _norm(shapes, "patch_embed.norm", eps)

    def forward(self, image: Any) -> Any:
        """(B, channels, H, W) -> (B, patches, C)."""
        return self.norm(self.proj(image).flatten(2).transpose(1, 2))


class Block(nn.Module):
    """Attention and MLP, each behind a norm and beside a residual."""

    def __init__(self, shapes: Shapes, at: str, spec: ModelSpec, plain: PlainModel) -> None:
        super().__init__()
        self.norm1, self.norm2 = (_norm(shapes, at + name, plain.norm_eps) for name in ("norm1", "norm2"))
        self.attn = Attention(shapes, at + "attn.", spec.heads, plain.norm_eps)
        self.mlp = Mlp(shapes, at + "mlp.", plain)
        self.ls1, self.ls2 = _scale(shapes, at + "ls1"), _scale(shapes, at + "ls2")
        self.drop_path1, self.drop_path2 = nn.Identity(), nn.Identity()

    def forward(self, x: Any) -> Any:
        """(B, N, C) -> the same."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))


class Attention(nn.Module):
    """Every token attends to every token."""

    def __init__(self, shapes: Shapes, at: str, heads: int, eps: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, (shapes[at + "qkv.weight"][0] // 3 // heads) ** -0.5
        self.qkv, self.proj = _linear(shapes, at + "qkv"), _linear(shapes, at + "proj")
        self.q_norm, self.k_norm, self.norm = (_norm(shapes, at + name, eps) for name in ("q_norm", "k_norm", "norm"))
        self.proj_drop = nn.Dropout(0.0)

    def forward(self, x: Any) -> Any:
        """(B, N, C) -> the same."""
        batch, tokens, _ = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)  # (B, H, N, d)
        q, k = self.q_norm(q), self.k_norm(k)
        if FUSED:
            y = functional.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        y = self.norm(y.transpose(1, 2).reshape(batch, tokens, -1))  # (B, N, H d)
        return self.proj_drop(self.proj(y))


class Mlp(nn.Module):
    """Two layers and an activation, on each token."""

    def __init__(self, shapes: Shapes, at: str, plain: PlainModel) -> None:
        super().__init__()
        self.fc1, self.fc2 = _linear(shapes, at + "fc1"), _linear(shapes, at + "fc2")
        self.act, self.norm = Activation(plain.activation), _norm(shapes, at + "norm", plain.norm_eps)
        self.drop1, self.drop2 = nn.Dropout(0.0), nn.Dropout(0.0)

    def forward(self, x: Any) -> Any:
        """(B, N, C) -> the same."""
        return self.drop2(self.fc2(self.norm(self.drop1(self.act(self.fc1(x))))))


class Activation(nn.Module):
    """GELU, exact or approximate; torch before 1.12 has the exact one only."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Any) -> Any:
        """Elementwise."""
        if self.kind == "gelu":
            return functional.gelu(x)
        if self.kind == "quick_gelu":
            return x * torch.sigmoid(1.702 * x)
        return 0.5 * x * (1 + torch.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))  # sqrt(2 / pi)


class Scale(nn.Module):
    """LayerScale: a factor a channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(width))

    def forward(self, x: Any) -> Any:
        """(B, N, C) -> the same."""
        return x * self.gamma


def _norm(shapes: Shapes, name: str, eps: float) -> nn.Module:
    return nn.LayerNorm(shapes[name + ".weight"], eps=eps) if name + ".weight" in shapes else nn.Identity()


def _linear(shapes: Shapes, name: str) -> nn.Module:
    if name + ".weight" not in shapes:  # a model without a classifier
        return nn.Identity()
    outputs, inputs = shapes[name + ".weight"]
    return nn.Linear(inputs, outputs, bias=name + ".bias" in shapes)


def _scale(shapes: Shapes, name: str) -> nn.Module:
    return Scale(*shapes[name + ".gamma"]) if name + ".gamma" in shapes else nn.Identity()
