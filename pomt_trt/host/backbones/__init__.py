"""The models that pomt-trt takes: one adapter a file, under one contract (contract.py). This is their table."""

from torch import nn

from pomt_trt.core.errors import InputError
from pomt_trt.host.backbones.beit import BeitColumn
from pomt_trt.host.backbones.contract import Backbone
from pomt_trt.host.backbones.eva import EvaColumn
from pomt_trt.host.backbones.naflex import NaFlexColumn
from pomt_trt.host.backbones.plain import Plain
from pomt_trt.host.backbones.relpos import RelPosColumn

ADAPTERS: tuple[type[Backbone], ...] = (Plain, EvaColumn, BeitColumn, RelPosColumn, NaFlexColumn)
KINDS = {kind: adapter for adapter in ADAPTERS for kind in adapter.kinds}
NOT_A_COLUMN = {  # class of a popular model -> why constant token counts do not fit it
    "SwinTransformer": "attention in windows needs the whole grid of patches",
    "SwinTransformerV2": "attention in windows needs the whole grid of patches",
    "SwinTransformerV2Cr": "attention in windows needs the whole grid of patches",
}


def of(module: nn.Module) -> Backbone:
    """The adapter around a model. Raises InputError for a model of another class."""
    kind = _kind(type(module))
    if kind is None:
        raise InputError(
            f"{refusal(module)}. Choose a plain vision transformer, such as deit_small_patch16_224, or one of those "
            "that pomt-trt models lists."
        )
    return KINDS[kind](module)


def refusal(module: nn.Module) -> str | None:
    """The reason against a model, or None: its blocks can run one by one on fewer tokens."""
    if type(module) in KINDS:
        return KINDS[type(module)](module).refusal()
    name = type(module).__name__
    known = ", ".join(kind.__name__ for kind in KINDS)
    return f"it is a {name}, not timm's {known}" + (f"; {NOT_A_COLUMN[name]}" if name in NOT_A_COLUMN else "")


def _kind(own: type) -> type[nn.Module] | None:
    """The known class whose forward pass a class has."""
    for kind in KINDS:
        if issubclass(own, kind) and all(getattr(own, n) is getattr(kind, n) for n in ("forward", "forward_features")):
            return kind
    return None
