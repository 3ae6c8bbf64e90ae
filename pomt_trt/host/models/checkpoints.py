"""Loads files of weights into a timm vision transformer: whole checkpoints, and DINOv2's separate linear heads.

Which tensors of a file are the model's: host/weights/prefixes.
"""

import copy
import logging
from pathlib import Path
from typing import Any

from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pomt_trt.core.errors import InputError
from pomt_trt.host.backbones.pooling import ClassAndMean
from pomt_trt.host.weights import files, fit, prefixes
from pomt_trt.host.weights.files import State
from pomt_trt.host.weights.fit import ADVICE, HEADS
from pomt_trt.host.weights.prefixes import EMA_AUTO, Found
from pomt_trt.host.weights.wording import few

LOGGER = logging.getLogger(__name__)


def load_checkpoint(module: VisionTransformer, path: str, *, separate_head: bool = False, ema: str = EMA_AUTO) -> None:
    """Loads a checkpoint's weights into the module, in place, and says in one line what was read.

    The position embedding is resampled to the module's size. A fine-tuned checkpoint keeps its number of classes, and
    its pooling where that is MAE's: the module's head is replaced.

    Args:
        path: .safetensors, a file of torch.save, or the .index.json of shards.
        separate_head: the classifier comes from another file; the checkpoint's is ignored.
        ema: auto, on, off: whether to read averaged weights (EMA, teacher) where the file has both.
    Raises:
        InputError: the file is absent, damaged, holds code, or does not fit; with all offending keys and shapes.
    """
    state, line = _read(module, path, ema)
    if separate_head:
        remove_head(module)
        state = {key: value for key, value in state.items() if not key.startswith(HEADS)}
    else:
        _match_head(module, state)
    line += _match_pooling(module, state)
    fit.fill(module, state, path, ADVICE)
    LOGGER.warning("%s: %s", path, line)


def load_folder(module: VisionTransformer, folder: Path) -> None:
    """Loads the weights of a folder into a module that was made from its config.json, in place.

    Raises: InputError as load_checkpoint, and where the number of classes is not config.json's.
    """
    path = files.in_folder(folder)
    state, line = _read(module, path, EMA_AUTO)
    fit.fill(module, state, path, "config.json beside it describes another model: correct it.")
    if "," in line:  # in timm's own names there is nothing to say
        LOGGER.warning("%s: %s", path, line)


def _read(module: VisionTransformer, path: str, ema: str) -> tuple[State, str]:
    """The checkpoint in timm's names and at the module's image size, and what was read of it, in words."""
    state, own = files.read(path), module.state_dict()
    found = prefixes.find(state, own, ema, path) or _official(module, state, path)
    with_registers = _positions_apart(module, found.tensors)
    line = f"read {found.read} of {len(state)} tensors" + "".join(", " + note for note in found.notes)
    return fit.filtered(module, with_registers, path), line


def _official(module: VisionTransformer, state: State, path: str) -> Found:
    """The layout of an official release, such as CLIP's, that only timm's filter knows."""
    own = set(module.state_dict())

    def known(prefix: str) -> int:
        try:
            return len(own & set(fit.filtered(copy.copy(module), _under(state, prefix), path)))
        except InputError:
            return 0

    best = max(sorted(_wrappers(state), key=len), key=known)
    tensors = _under(state, best)
    notes = [f"prefix '{best}' removed"] if best else []
    return Found(tensors, len(tensors), (*notes, "an official layout") if known(best) else ())


def _under(state: State, prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def _wrappers(state: State) -> set[str]:
    """'' and what may be a wrapper: the first part, and the first two parts, of names."""
    parts = [key.split(".") for key in state]
    return {""} | {".".join(part[:count]) + "." for part in parts for count in (1, 2) if len(part) > count}


def _positions_apart(module: Any, state: State) -> State:
    """DINOv2 with registers: the position of the class token is added to it, as timm keeps the others alone."""
    pos, cls = state.get("pos_embed"), state.get("cls_token")
    apart = getattr(module, "no_embed_class", False) and "reg_token" in state
    if not apart or pos is None or cls is None or not _has_one_more_than_a_square(pos.shape[1]):
        return state
    return {**state, "cls_token": cls + pos[:, :1], "pos_embed": pos[:, 1:]}


def _has_one_more_than_a_square(count: int) -> bool:
    return int((count - 1) ** 0.5 + 0.5) ** 2 == count - 1


def _match_head(module: VisionTransformer, state: State) -> None:
    """Gives the module as many classes as the checkpoint's head has."""
    weight = state.get("head.weight")
    if weight is not None and weight.ndim == 2 and weight.shape[0] != module.num_classes:
        given = weight.shape[0], module.num_classes
        LOGGER.warning("the checkpoint has %d classes, the model %d: those of the checkpoint are taken", *given)
        module.reset_classifier(weight.shape[0])


def _match_pooling(module: VisionTransformer, state: State) -> str:
    """Gives the module MAE's fine-tuned pooling, the mean of the patches before the last norm; says so if it does."""
    averages = "fc_norm.weight" in state and "norm.weight" not in state
    if not averages or module.global_pool != "token" or not isinstance(module.fc_norm, nn.Identity):
        return ""
    module.norm, module.fc_norm, module.global_pool = nn.Identity(), module.norm, "avg"
    return ", patches averaged before the last norm (fc_norm)"


def attach_linear_head(module: VisionTransformer, path: str) -> None:
    """Gives a backbone DINOv2's linear head, in place: logits = Linear([class token, mean of patch tokens]).

    Args:
        path: a state dict with weight (classes, 2 * channels) and bias (classes,), with or without a `linear.` or
            `head.` before the names.
    Raises:
        InputError: the file is not such a head, has another width, or the model pools in another way.
    """
    state = {key.split(".")[-1]: value for key, value in files.read(path).items() if isinstance(value, Tensor)}
    if (
        set(state) != {"weight", "bias"}
        or state["weight"].ndim != 2
        or state["bias"].shape != state["weight"].shape[:1]
    ):
        raise InputError(
            f"{path} is no linear head: it holds {few(sorted(state))}, not weight (classes, 2 * channels) and bias "
            "(classes,). Give --head the file of a DINOv2 linear head, or a whole model as --checkpoint."
        )
    classes, width = state["weight"].shape
    _check_head_fits(module, width, path)
    fit.check_finite(state, path)
    take_class_and_mean(module, classes)
    module.head.load_state_dict(state)


def remove_head(module: VisionTransformer) -> None:
    """Takes a classifier off, in place, so that the model gives features: those that its own pooling gives."""
    if isinstance(module.attn_pool, ClassAndMean):  # belongs to the head
        module.attn_pool, module.pool_include_prefix = None, False
    module.reset_classifier(0)


def take_class_and_mean(module: VisionTransformer, classes: int) -> None:
    """Gives a backbone a random linear head on the class token beside the mean of the patch tokens, in place."""
    module.attn_pool = ClassAndMean(module.num_prefix_tokens)
    module.pool_include_prefix = True  # else timm cuts the class token off before attn_pool
    module.head = nn.Linear(2 * module.embed_dim, classes)
    module.num_classes = classes


def _check_head_fits(module: VisionTransformer, width: int, path: str) -> None:
    if width != 2 * module.embed_dim:
        raise InputError(
            f"{path} takes {width} features, the model gives {2 * module.embed_dim} (class token and mean of patch "
            f"tokens, {module.embed_dim} each). Take the one-layer linear head of this very architecture."
        )
    distilled = hasattr(module, "head_dist")
    if not module.has_class_token or distilled or not isinstance(module.fc_norm, nn.Identity):
        reason = "it has two heads" if distilled else "it has no normalised class token"
        raise InputError(
            f"a linear head does not fit this model: {reason}. Leave --head out, or choose a DINOv2 model."
        )
