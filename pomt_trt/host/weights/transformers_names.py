"""The names of Hugging Face transformers' vision towers, as those of timm: ViT, DeiT, DINOv2, DINOv3, SigLIP.

transformers keeps queries, keys and values apart where timm has one matrix, and says `layer` for timm's `blocks`.
Source: state_dict() of both libraries, transformers 5.24 and timm 1.0.31; tests/data/transformers holds the names.
"""

import re
from collections.abc import Iterator, Set
from typing import NamedTuple

from torch import Tensor


class Target(NamedTuple):
    """Where a tensor goes in the model."""

    name: str
    place: int = 0  # among the parts of which the model's tensor is made, one below the other
    thirds: tuple[int, int] = (0, 3)  # which rows of the tensor: SigLIP's pooling keeps query, key and value in one

    def rows_of(self, tensor: Tensor) -> Tensor:
        """Those rows."""
        if self.thirds == (0, 3):
            return tensor
        first, last = (len(tensor) * third // 3 for third in self.thirds)
        return tensor[first:last]


POOL = "attn_pool."  # timm's pooling by attention; a classifier of transformers does not use it
_PLACES = {"query": 0, "key": 1, "value": 2, "q": 0, "k": 1, "v": 2}
_BASE = r"(?:(?:vit|deit|dinov2|dinov2_with_registers|dinov3_vit|vision_model)\.)?"
_LAYER = _BASE + r"(?:encoder\.layers?|model\.layer|layer)\.(?P<n>\d+)\."
_END = r"(?P<end>weight|bias)"
# pattern of a name -> timm's names, of which the model has one; of several tensors in one, their places
_RENAMED = [
    (_BASE + r"embeddings\.cls_token", ("cls_token",)),
    (_BASE + r"embeddings\.distillation_token", ("dist_token", "reg_token")),
    (_BASE + r"embeddings\.register_tokens", ("reg_token",)),
    (_BASE + r"embeddings\.(?:position_embeddings|position_embedding\.weight)", ("pos_embed",)),
    (_BASE + r"embeddings\.patch_embedding(?:s\.projection|s)?\." + _END, ("patch_embed.proj.{end}",)),
    (
        _LAYER
        + r"(?:attention\.attention\.|attention\.|self_attn\.)(?P<qkv>query|key|value|[qkv](?=_proj))(?:_proj)?\."
        r"(?P<end>weight|bias)",
        ("blocks.{n}.attn.qkv.{end}", "blocks.{n}.attn.{qkv}_{end}"),
    ),
    (
        _LAYER + r"(?:attention\.output\.dense|attention\.o_proj|self_attn\.out_proj)\." + _END,
        ("blocks.{n}.attn.proj.{end}",),
    ),
    (_LAYER + r"(?:intermediate\.dense|mlp\.(?:fc1|weights_in))\." + _END, ("blocks.{n}.mlp.fc1.{end}",)),
    (_LAYER + r"(?:output\.dense|mlp\.(?:fc2|weights_out|down_proj))\." + _END, ("blocks.{n}.mlp.fc2.{end}",)),
    (_LAYER + r"mlp\.up_proj\." + _END, ("blocks.{n}.mlp.fc1_x.{end}", "blocks.{n}.mlp.fc1.{end}")),
    (_LAYER + r"mlp\.gate_proj\." + _END, ("blocks.{n}.mlp.fc1_g.{end}",)),
    (_LAYER + r"(?:layernorm_before|layer_norm1|norm1)\." + _END, ("blocks.{n}.norm1.{end}",)),
    (_LAYER + r"(?:layernorm_after|layer_norm2|norm2)\." + _END, ("blocks.{n}.norm2.{end}",)),
    (_LAYER + r"layer_scale(?P<k>[12])\.lambda1", ("blocks.{n}.ls{k}.gamma", "blocks.{n}.gamma_{k}")),
    (_BASE + r"(?:layernorm|post_layernorm|norm)\." + _END, ("norm.{end}", "fc_norm.{end}")),
    (_BASE + r"head\.probe", ("attn_pool.latent",)),
    (_BASE + r"head\.attention\.out_proj\." + _END, ("attn_pool.proj.{end}",)),
    (_BASE + r"head\.layernorm\." + _END, ("attn_pool.norm.{end}",)),
    (_BASE + r"head\.mlp\.(?P<k>fc[12])\." + _END, ("attn_pool.mlp.{k}.{end}",)),
    (r"(?:cls_)?classifier\." + _END, ("head.{end}",)),
    (r"distillation_classifier\." + _END, ("head_dist.{end}",)),
]
_RULES = [(re.compile(pattern), names) for pattern, names in _RENAMED]
_IN_PROJ = re.compile(_BASE + r"head\.attention\.in_proj_(weight|bias)")


def targets(name: str, own: Set[str]) -> list[Target]:
    """Where a tensor of transformers goes; [] where the name is none of theirs, or of a part that timm does not have.

    Args:
        own: the model's names, which say how it spells what timm spells in two ways.
    """
    given = list(_targets(name, own))
    pools = any(target.name.startswith(POOL) for target in given)
    return [] if pools and "attn_pool.latent" not in own else given


def _targets(name: str, own: Set[str]) -> Iterator[Target]:
    pooled = _IN_PROJ.fullmatch(name)
    if pooled:
        yield Target(f"{POOL}q.{pooled.group(1)}", 0, (0, 1))
        yield Target(f"{POOL}kv.{pooled.group(1)}", 0, (1, 3))
    for pattern, spellings in _RULES:
        found = pattern.fullmatch(name)
        if found:
            parts = {key: value or "" for key, value in found.groupdict().items()}
            spelled = [spelling.format(**parts) for spelling in spellings]
            chosen = next((one for one in spelled if one in own), spelled[0])
            fused = chosen.endswith(("qkv.weight", "qkv.bias"))
            yield Target(chosen, _PLACES[parts["qkv"]] if fused else 0)
            return
