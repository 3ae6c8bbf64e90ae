"""Random: patches dropped at random, the same for every image. Every method has to beat it.

They are drawn when the model is built, so the graph holds a constant.
"""

import torch
from torch import Tensor

from pomt_trt.host.reducers.common.contract import Reducer, Signals, Site, Step, Tokens
from pomt_trt.host.reducers.common.learned import Learned


class Random(Reducer):
    """Keeps a random subset in its order: before block 0, or within block `layer` where one is given.

    For one seed the sets are nested: fewer tokens are a subset of more.
    """

    method = "random"
    kept_indices: Tensor

    def __init__(self, step: Step, seed: int = 0, learned: Learned | None = None) -> None:
        super().__init__(step, seed, learned)
        patches = step.tokens_in - step.prefix_tokens
        drawn = torch.randperm(patches, generator=torch.Generator().manual_seed(seed))[: step.kept_patches]
        kept = torch.cat([torch.arange(step.prefix_tokens), step.prefix_tokens + drawn.sort().values])
        self.register_buffer("kept_indices", kept)  # (tokens_out,) int64, ascending, prefix included

    @classmethod
    def site(cls, layer: int | None) -> Site:
        return Site.INPUT if layer is None else Site.MID

    def reduce(self, tokens: Tokens, signals: Signals) -> Tokens:
        def stay(rows: Tensor) -> Tensor:
            return rows.index_select(1, self.kept_indices)  # (B, tokens_out, D)

        return tokens._replace(x=stay(tokens.x)).moved(stay)
