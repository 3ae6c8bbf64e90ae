"""LTMP in training: two thresholds for each block, learned on a frozen model by masks instead of removal.

All tokens stay in the sequence. Keys of merged or pruned tokens are masked. A mask is exactly 0 or 1 forward, and has
the slope of a sigmoid backward. dynamic.py runs the trained model.

Source: Bonnaerens and Dambre, "Learned Thresholds Token Merging and Pruning for Vision Transformers", TMLR 2023,
sections 3.2 to 3.4.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from pomt_trt.core.errors import InputError
from pomt_trt.host.backbones.attention import heads_of, projected
from pomt_trt.host.backbones.plain import embedded, fed_forward
from pomt_trt.host.models import loading
from pomt_trt.host.reducers import check_dense
from pomt_trt.host.reducers.common.matching import even_odd, unit
from pomt_trt.host.training.dynamic import Thresholds, run
from pomt_trt.host.training.objective import Classification

FIRST = (0.9, 0.0)  # merge and prune threshold
BUDGET_WEIGHT = 10.0  # of the squared distance from the target
SOFTMAX_EPS = 1e-5  # keeps gradients finite where all keys are masked


class Masked(NamedTuple):
    """All tokens in the order of the last pairing, and a mask of those that are not removed."""

    x: Tensor  # (B, N, C)
    size: Tensor  # (B, N)
    mask: Tensor  # (B, N) 0 or 1, with gradients to the thresholds


class Ltmp(nn.Module):
    """A frozen ViT that learns thresholds for a share of its computation. Forward gives the loss and its terms.

    Args:
        vit: a plain ViT that reads the class token.
        target: share of the blocks' multiply-adds to keep, 0..1.
        tau: width of the sigmoid that gives the gradients.
        first: the first merge and prune threshold of every block. A merge threshold of 1 would stay 1, since only
            merges give it gradients.
    Raises: InputError where the model averages its tokens: masks and merged sizes would bias the mean. UsageError
        where it labels patches: pruned ones would have no label.
    """

    method = "ltmp"

    def __init__(self, vit: Any, target: float = 0.75, tau: float = 0.5, first: tuple[float, float] = FIRST) -> None:
        super().__init__()
        if loading.is_dense(vit):
            check_dense(self.method)
        if vit.global_pool != "token" or vit.attn_pool is not None:
            raise InputError(
                "ltmp is trained on models that read the class token, and this one pools its tokens "
                f"('{vit.global_pool}'). Choose another model, or the method cropr."
            )
        self.vit = vit.requires_grad_(False).eval()
        self.target, self.tau, self.objective = target, tau, Classification()
        self.merge = nn.Parameter(torch.full((len(vit.blocks),), first[0]))
        self.prune = nn.Parameter(torch.full((len(vit.blocks),), first[1]))

    def train(self, mode: bool = True) -> "Ltmp":
        """Sets the mode; the frozen model stays in eval mode."""
        super().train(mode)
        self.vit.eval()
        return self

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """loss = task + BUDGET_WEIGHT (cost - target)^2; task is the cross-entropy, cost the share of computation."""
        logits, masks = self.masked(images)
        task = self.objective.loss(logits, labels)
        cost = remaining_cost(masks, self.vit.embed_dim)
        loss = task + BUDGET_WEIGHT * (cost - self.target).square()
        return {"loss": loss, "task": task.detach(), "cost": cost.detach()}

    def masked(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits (B, classes) of the masked model, and the mask (B, N) after each block."""
        x = embedded(self.vit, images)
        state, masks = Masked(x, x.new_ones(x.shape[:2]), x.new_ones(x.shape[:2])), []
        for layer, block in enumerate(self.vit.blocks):
            state = self._block(block, state, self.merge[layer], self.prune[layer])
            masks.append(state.mask)
        return self.vit.forward_head(self.vit.norm(state.x)), masks

    def predict(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of the model as it runs: tokens are removed."""
        return run(self.vit, self.thresholds(), images)[0]

    def thresholds(self) -> list[Thresholds]:
        """One pair for each block."""
        pairs = zip(self.merge.tolist(), self.prune.tolist(), strict=True)
        return [Thresholds(merge, prune) for merge, prune in pairs]

    @torch.no_grad()
    def after_step(self) -> None:
        """Keeps thresholds in 0..1, as cosines and shares of attention are."""
        self.merge.clamp_(0, 1)
        self.prune.clamp_(0, 1)

    def _block(self, block: Any, state: Masked, merge: Tensor, prune: Tensor) -> Masked:
        q, k, v = heads_of(block.attn, block.norm1(state.x))
        logits = (q * block.attn.scale) @ k.transpose(2, 3) + state.size.log()[:, None, None]  # (B, H, N, N)
        mixed, importance = masked_attention(logits, v, state.mask)
        x = state.x + block.ls1(projected(block.attn, mixed, state.x))
        keys = unit(k.mean(1).float()) * state.mask.detach()[:, :, None]  # removed tokens are similar to nothing
        order, even = even_odd(x.shape[1], self.vit.num_prefix_tokens)
        order = order.to(x.device)
        ordered = Masked(x[:, order], state.size[:, order], state.mask[:, order])
        merged, importance = self._merged(ordered, keys[:, order], importance[:, order], even, merge)
        mask = self._pruned_mask(merged.mask, importance, prune)
        return merged._replace(x=fed_forward(block, merged.x), mask=mask)

    def _merged(
        self, state: Masked, keys: Tensor, importance: Tensor, even_patches: int, threshold: Tensor
    ) -> tuple[Masked, Tensor]:
        """Adds even tokens to their partners, and masks them. Their rows stay in the sequence."""
        prefix = self.vit.num_prefix_tokens
        rows = [prefix, even_patches, keys.shape[1] - prefix - even_patches]
        _, even, odd = torch.split(keys, rows, 1)
        best, partner = (even @ odd.transpose(1, 2)).max(2)  # (B, even) each
        merging = passed(best, threshold, self.tau)
        into = functional.one_hot(partner, rows[2]) * merging.detach()[:, :, None]  # (B, even, odd)
        x, size, mask, received = (torch.split(part, rows, 1) for part in (*state, importance))
        shares = into * size[1][:, :, None]
        grown = size[2] + shares.sum(1)
        joined = (x[2] * size[2][:, :, None] + shares.transpose(1, 2) @ x[1]) / grown[:, :, None]
        left = torch.where(mask[1] > 0, 1 - merging, mask[1])
        highest = torch.maximum(received[2], (into * received[1][:, :, None]).amax(1))
        importance = torch.cat([received[0], received[1], highest], 1)
        parts = [(x[0], x[1], joined), (size[0], size[1], grown), (mask[0], left, mask[2])]
        return Masked(*(torch.cat(part, 1) for part in parts)), importance

    def _pruned_mask(self, mask: Tensor, importance: Tensor, threshold: Tensor) -> Tensor:
        """The mask after pruning. Prefix tokens stay. Tokens that are masked already keep their mask."""
        prefix = self.vit.num_prefix_tokens
        kept = passed(importance[:, prefix:], threshold, self.tau)
        patches = torch.where(mask[:, prefix:] > 0, kept, mask[:, prefix:])
        return torch.cat([mask[:, :prefix], patches], 1)


def passed(value: Tensor, threshold: Tensor, tau: float) -> Tensor:
    """Forward: 1 where value > threshold, else 0. Backward: the slope of sigmoid((value - threshold) / tau)."""
    soft = torch.sigmoid((value - threshold) / tau)
    hard = (soft > 0.5).to(soft.dtype)
    return soft + (hard - soft).detach()


def masked_attention(logits: Tensor, values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Attention's output (B, H, N, dh) and the importance (B, N) of keys, where the mask M (B, N) weighs the keys.

    The weights are (E M + eps / N) / (sum of E M + eps), with E = exp(logits - their maximum). Logits (B, H, N, N) have
    a row for each query, also of removed tokens. With P = softmax(logits), E = P / max P, so the mask can be applied to
    the values, and one matmul gives numerators and denominators: fewer passes over N x N numbers.
    """
    weights = logits.softmax(3)
    scale = SOFTMAX_EPS * weights.amax(3, keepdim=True)  # (B, H, N, 1): eps where E is replaced by P
    heads = mask[:, None, :, None].expand(-1, values.shape[1], -1, -1)  # (B, H, N, 1)
    sums = weights @ torch.cat([values * heads, heads], 3)  # (B, H, N, dh + 1)
    total, even = sums[..., -1:] + scale, scale / logits.shape[3]
    mixed = (sums[..., :-1] + even * values.sum(2, keepdim=True)) / total
    received = (1 / total).transpose(2, 3) @ weights  # (B, H, 1, N)
    importance = received.mean((1, 2)) * mask + (even / total).mean(1).sum(1)
    return mixed, importance / logits.shape[3]


def remaining_cost(masks: list[Tensor], channels: int) -> Tensor:
    """Share 0..1 of the blocks' multiply-adds that is left, from the masks (B, N) after each block.

    A block of n entering and m leaving tokens of C channels takes 2 n C^2 + n^2 C for attention, 4 m C^2 for the MLP.
    """
    tokens = masks[0].shape[1]
    left = [masks[0].new_ones(())] + [mask.mean() for mask in masks]
    blocks = [
        2 * before * tokens * channels**2 + (before * tokens) ** 2 * channels + 4 * after * tokens * channels**2
        for before, after in zip(left, left[1:], strict=False)
    ]
    return torch.stack(blocks).mean() / (6 * tokens * channels**2 + tokens**2 * channels)
