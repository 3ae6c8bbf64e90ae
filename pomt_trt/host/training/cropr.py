"""Cropr in training: after each block but the last ones, a scorer that learns by an auxiliary head of its own.

Scorers read detached tokens, so an auxiliary loss trains its own scorer alone. The main loss reaches the backbone
through the kept tokens. After training, a scorer folds into one vector.

Source: Bergner, Lippert and Mahendran, "Token Cropr: Faster ViTs for Quite a Few Tasks", CVPR 2025.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pomt_trt.core.errors import UsageError
from pomt_trt.host.backbones.plain import embedded
from pomt_trt.host.models import loading
from pomt_trt.host.reducers import restored
from pomt_trt.host.reducers.common.contract import Site, Step, Tokens
from pomt_trt.host.reducers.cropr import cut, fused
from pomt_trt.host.training.objective import objective_of

INITIAL_STD = 0.02  # of all linear layers


class Scorer(nn.Module):
    """Queries that score tokens, and an auxiliary head that predicts classes from what they attend to.

    Args: queries: M; a token's score sums over them.
    """

    def __init__(self, channels: int, classes: int, queries: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(queries, channels))
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, classes))
        nn.init.trunc_normal_(self.queries, std=channels**-0.5)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=INITIAL_STD)
                nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (B, N) of tokens x (B, N, C), and the auxiliary logits (B, M, classes)."""
        products = x @ self.queries.T  # (B, N, M)
        weights = (products * x.shape[2] ** -0.5).softmax(1)
        attended = weights.transpose(1, 2) @ x  # (B, M, C)
        attended = attended + self.mlp(self.norm(attended))
        return products.detach().sum(2), self.head(attended)

    @torch.no_grad()
    def folded(self) -> Tensor:
        """A vector (C,) of length 1 that ranks tokens as the queries."""
        return functional.normalize(self.queries.sum(0), dim=0)


class Cropr(nn.Module):
    """A ViT that drops the tokens of lowest score after each block. Forward gives the loss and its terms.

    Args:
        vit: a plain ViT. Without pooling it learns to label pixels, and needs llf.
        removed: R, patch tokens to cut after each scored block; one more after the first, as in the paper.
        llf: last layer fusion: cut tokens come back for the last block.
        freeze_backbone: train the scorers alone.
    Raises: UsageError where too few tokens would stay.
    """

    method = "cropr"

    def __init__(self, vit: Any, removed: int, *, llf: bool = True, freeze_backbone: bool = False) -> None:
        super().__init__()
        if loading.is_dense(vit) and not llf:
            raise UsageError("a model that labels every patch needs all of them at its end. Leave --no-llf out.")
        self.vit = vit.requires_grad_(not freeze_backbone)
        self.llf, self.freeze_backbone, self.objective = llf, freeze_backbone, objective_of(vit)
        self.steps = planned(len(vit.blocks), vit.patch_embed.num_patches, vit.num_prefix_tokens, removed, llf)
        queries = self.objective.queries
        self.scorers = nn.ModuleList(Scorer(vit.embed_dim, vit.num_classes, queries) for _ in self.steps)

    def train(self, mode: bool = True) -> "Cropr":
        """Sets the mode; a frozen model stays in eval mode."""
        super().train(mode)
        if self.freeze_backbone:
            self.vit.eval()
        return self

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """loss = task + sum of the auxiliary losses, without task for a frozen backbone; auxiliary is their mean."""
        logits, auxiliary = self.run(images)
        total = torch.stack([self.objective.auxiliary_loss(each, labels) for each in auxiliary]).sum()
        task = self.objective.loss(logits, labels)
        loss = total if self.freeze_backbone else task + total
        return {"loss": loss, "task": task.detach(), "auxiliary": total.detach() / len(auxiliary)}

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Logits (B, ...) with tokens cut."""
        return self.run(images)[0]

    def after_step(self) -> None:
        """Nothing is bounded."""

    def folded(self) -> Tensor:
        """The vectors (modules, C) that the scorers fold into."""
        return torch.stack([cast(Scorer, scorer).folded() for scorer in self.scorers])

    def run(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits (B, ...) of the objective, and those of each auxiliary head (B, queries, classes)."""
        tokens, auxiliary = Tokens(embedded(self.vit, images)), []
        count, last = tokens.x.shape[1], len(self.vit.blocks) - 1
        for layer, block in enumerate(self.vit.blocks):
            if self.llf and layer == last:
                tokens = fused(tokens)
            tokens = tokens._replace(x=block(tokens.x))
            if layer < len(self.steps):
                scores, logits = self.scorers[layer](tokens.x.detach())
                tokens = cut(tokens, scores[:, self.vit.num_prefix_tokens :], self.steps[layer])
                auxiliary.append(logits)
        outputs = self.vit.forward_head(self.vit.norm(tokens.x))
        if loading.is_dense(self.vit):
            outputs = restored(tokens, outputs, count)
        return self.objective.logits(outputs), tuple(auxiliary)


def planned(depth: int, patches: int, prefix_tokens: int, removed: int, llf: bool) -> tuple[Step, ...]:
    """The cut after each scored block. Raises: UsageError where too few tokens would stay."""
    scored = depth - 2 if llf else depth - 1
    most = max((patches - 2) // max(scored, 1), 0)
    if scored < 1 or not 0 <= removed <= most:
        raise UsageError(
            f"cropr cannot remove {removed} of {patches} patch tokens after each of {scored} blocks. "
            f"Choose 0 to {most} for --removed, in a model of {3 if llf else 2} or more blocks."
        )
    steps, count = [], patches + prefix_tokens
    for layer in range(scored):
        left = count - removed - (1 if layer == 0 else 0)
        steps.append(Step(Site.END, layer, count, left, prefix_tokens, left - prefix_tokens, fused=llf))
        count = left
    return tuple(steps)
