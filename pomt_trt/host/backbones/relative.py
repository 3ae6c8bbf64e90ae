"""Relative position biases: attention's logits depend on where query and key are, by one number a pair and head.

The number of a pair is looked up by the places of both tokens, so it goes on fitting when tokens are removed. A pair
with a token that has no place adds 0. A merged token has the place of the one that others were merged into.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pomt_trt.host.backbones.contract import Backbone
from pomt_trt.host.reducers.common.contract import Tokens


class Relative(nn.Module):
    """The biases of a model on one grid.

    Attributes:
        tables: (L, R + 1, H) the numbers of each block, or of all blocks where L = 1; the last row is 0.
        pairs: ((N + 1)^2,) the row of the table for each pair of places; place N is nowhere.
        places: (1, N, 1), 0 ... N - 1.
    """

    tables: Tensor
    pairs: Tensor
    places: Tensor

    def __init__(self, tables: Sequence[Tensor], pairs: Tensor) -> None:
        """From tables (R, H), and the rows of all pairs of tokens (N, N); -1 where a pair adds nothing."""
        super().__init__()
        self.register_buffer("tables", F.pad(torch.stack([table.detach() for table in tables]), (0, 0, 0, 1)))
        nothing = self.tables.shape[1] - 1
        pairs = F.pad(torch.where(pairs < 0, nothing, pairs), (0, 1, 0, 1), value=nothing)
        self.register_buffer("pairs", pairs.flatten())
        self.register_buffer("places", torch.arange(len(pairs) - 1)[None, :, None], persistent=False)

    def bias(self, layer: int, places: Tensor) -> Tensor:
        """What a block adds to its logits, (B, H, N, N), for tokens at places (B, N, 1)."""
        pairs = places * (self.places.shape[1] + 1) + places.transpose(1, 2)  # (B, N, N)
        table = self.tables[layer if len(self.tables) > 1 else 0]
        return F.embedding(F.embedding(pairs, self.pairs.unsqueeze(1)).squeeze(3), table).permute(0, 3, 1, 2)


class RelativeColumn(Backbone):
    """A column whose blocks may have a relative position bias, in `vit.relative` once it is fixed."""

    @property
    def moves_positions(self) -> bool:
        return self._tables() is not None

    def fix(self) -> None:
        super().fix()
        if not hasattr(self.vit, "relative"):
            given = self._tables()
            self.vit.relative = None if given is None else Relative(*given)

    def _tables(self) -> tuple[Sequence[Tensor], Tensor] | None:
        """Arguments of Relative; None: the model has no such bias."""
        raise NotImplementedError

    def with_places(self, x: Tensor) -> Tokens:
        """Tokens of a sequence x (B, N, C) that enters block 0."""
        relative: Any = self.vit.relative
        if relative is None:
            return Tokens(x)
        places = relative.places.expand(len(x), -1, -1)
        return Tokens(x, positions=places, nowhere=relative.places[:, -1:] + 1)

    def whole(self, layer: int, tokens: Tokens, bias: Tensor | None) -> Tensor:
        return self.by_parts(layer, tokens, bias)

    def bias(self, layer: int, tokens: Tokens, bias: Tensor | None) -> Tensor | None:
        if tokens.positions is None:
            return bias
        own: Tensor = self.vit.relative.bias(layer, tokens.positions)
        return own if bias is None else own + bias
