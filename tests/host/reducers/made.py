"""Plans, signals and rows for tests of single methods."""

import numpy as np
import torch

from pomt_trt.host.reducers import METHODS
from pomt_trt.host.reducers.common.contract import Signals, Site

PREFIXES = (0, 1, 2, 5)


def most(method, tokens, prefix):
    """The valid range by methods.md, written down a second time."""
    if method == "tome":
        return (tokens - prefix) // 2
    return tokens - prefix - (2 if method.startswith("pomt") else 1)


def plan(method, tokens, prefix, removed):
    return METHODS[method].plan(Site.MID, 3, tokens, tokens - removed, prefix)


def signals(batch, tokens, prefix, heads=2, width=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    attn = torch.rand(batch, heads, tokens, tokens, generator=generator).softmax(-1)
    values = torch.randn(batch, heads, tokens, width, generator=generator)
    keys = torch.randn(batch, tokens, width, generator=generator)
    change = torch.randn(batch, tokens, width, generator=generator)
    return Signals(keys=keys, values=values, attn=attn, attn_cls=attn[:, :, 0, prefix:].mean(1), change=change)


def rows(batch, tokens):
    """Rows that tell their image and position: (batch, tokens, 2)."""
    image, position = torch.meshgrid(torch.arange(batch), torch.arange(tokens), indexing="ij")
    return torch.stack([image, position], 2).float()


def merged_by_hand(keys, count, prefix):
    """Members of each token that leaves, by the definition: methods.md section 3, steps 1 to 6; one image (N, dh)."""
    unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    even, odd = ([i for i in range(prefix, len(keys)) if i % 2 == parity] for parity in (0, 1))
    partner = {i: max(odd, key=lambda j, i=i: (unit[i] @ unit[j], -j)) for i in even}
    merged = sorted(even, key=lambda i: (-(unit[i] @ unit[partner[i]]), i))[:count]
    own = {j: {j, *(i for i in merged if partner[i] == j)} for j in odd}
    return [{i} for i in range(prefix)] + [{i} for i in even if i not in merged] + list(own.values())
