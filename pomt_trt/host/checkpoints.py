"""Files of weights -> a timm VisionTransformer that holds them: whole checkpoints, and DINOv2's separate linear heads.

On the workstation. Nothing in a file is ever executed: .safetensors, or torch files read with weights_only.
Leaves out which architecture a file belongs to, and timm's own downloads.
"""

import logging
import os
from typing import Any

import torch
from timm.models import load_state_dict
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor, nn

from pomt_trt.core.errors import InputError

LOGGER = logging.getLogger(__name__)
State = dict[str, Tensor]
HEADS = ("head.", "head_dist.")
ADVICE = "Name the architecture that the checkpoint was made for."


class ClassAndMean(nn.Module):
    """The input of DINOv2's linear heads: the class token beside the mean of the patch tokens.

    Modifications: stands where timm has attention pooling, so that timm's forward_head runs it unchanged.
    """

    def __init__(self, prefix_tokens: int) -> None:
        super().__init__()
        self.prefix_tokens = prefix_tokens

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, channels), after the last norm -> (batch, 2 channels)."""
        return torch.cat([x[:, 0], x[:, self.prefix_tokens :].mean(dim=1)], dim=1)  # (B, 2C)


def load_checkpoint(module: VisionTransformer, path: str, *, separate_head: bool = False) -> None:
    """Fills the module with a checkpoint's weights, in place; timm's key filter reads official layouts too.

    The position embedding is resampled to the module's size. A checkpoint whose head has another number of classes
    replaces the module's head: a fine-tuned model keeps its classes.

    Args:
        path: .safetensors, or what torch.save wrote; wrappers such as {'model': ...} are taken off.
        separate_head: the classifier comes from another file, so that one in the checkpoint does not matter.
    Raises:
        InputError: the file is absent, damaged, holds code, or does not fit; with the first offending keys.
    """
    state = _filtered(module, path)
    if separate_head:
        module.reset_classifier(0)
        state = {key: value for key, value in state.items() if not key.startswith(HEADS)}
    else:
        _match_head(module, state)
    _check_fit(module, state, path)
    _check_finite(state, path)
    module.load_state_dict(state)


def attach_linear_head(module: VisionTransformer, path: str) -> None:
    """Gives a backbone DINOv2's linear head, in place: logits = Linear([class token, mean of patch tokens]).

    Args:
        path: a state dict with weight (classes, 2 * channels) and bias (classes,), with or without a `linear.` or
            `head.` before the names.
    Raises:
        InputError: the file is no such head, its width is another, or the model pools in a way that leaves no room.
    """
    state = {key.split(".")[-1]: value for key, value in read_state(path).items() if isinstance(value, Tensor)}
    if (
        set(state) != {"weight", "bias"}
        or state["weight"].ndim != 2
        or state["bias"].shape != state["weight"].shape[:1]
    ):
        raise InputError(
            f"{path} is no linear head: it holds {_few(sorted(state))}, not weight (classes, 2 * channels) and bias "
            "(classes,). Give --head the file of a DINOv2 linear head, or a whole model as --checkpoint."
        )
    classes, width = state["weight"].shape
    _check_head_fits(module, width, path)
    _check_finite(state, path)
    module.attn_pool = ClassAndMean(module.num_prefix_tokens)
    module.pool_include_prefix = True  # else timm cuts the class token off before attn_pool
    module.head = nn.Linear(width, classes)
    module.head.load_state_dict(state)
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


def read_state(path: str) -> State:
    """The tensors in a file of weights, wrappers and `module.` prefixes taken off.

    Raises: InputError if the file is absent, damaged, or holds anything that only code could rebuild.
    """
    if not os.path.isfile(path):
        raise InputError(f"there is no file {path}. Give a .safetensors, .pth, .pt or .bin file.")
    try:
        state = load_state_dict(path, use_ema=True, weights_only=True)
    except Exception as error:  # a damaged file fails anywhere in torch's, pickle's, zip's or safetensors' readers
        if "unsupported global" in f"{error} {error.__cause__}".lower():  # torch's words for either file format
            raise InputError(
                f"{path} holds pickled Python objects, which could run code and are never loaded. Save the weights "
                "alone where you trust the file: torch.save(model.state_dict(), FILE)."
            ) from error
        raise InputError(
            f"{path} is truncated, or holds no state dict. Fetch it again, or write it with "
            "torch.save(model.state_dict(), FILE)."
        ) from error
    if not any(isinstance(value, (Tensor, dict)) for value in state.values()):
        raise InputError(f"{path} holds no weights, only {_few(list(state))}. Save model.state_dict() there.")
    return dict(state)


def _filtered(module: VisionTransformer, path: str) -> State:
    """The checkpoint in timm's names and at the module's image size; where timm's filter fails, it is no match."""
    state: Any = read_state(path)
    try:
        # adapt_layer_scale: official DeiT III names gamma_1 what timm names ls1.gamma
        state = checkpoint_filter_fn(state, module, adapt_layer_scale=True)
    except Exception as error:
        raise InputError(f"{path} does not fit the model: {_line(error)}. {ADVICE}") from error
    return {key: value for key, value in state.items() if isinstance(value, Tensor)}


def _match_head(module: VisionTransformer, state: State) -> None:
    """Gives the module as many classes as the checkpoint's head has."""
    weight = state.get("head.weight")
    if weight is not None and weight.ndim == 2 and weight.shape[0] != module.num_classes:
        LOGGER.info("the checkpoint has %d classes, the architecture %d", weight.shape[0], module.num_classes)
        module.reset_classifier(weight.shape[0])


def _check_fit(module: VisionTransformer, state: State, path: str) -> None:
    own = module.state_dict()
    missing, unexpected = [key for key in own if key not in state], [key for key in state if key not in own]
    reshaped = [key for key in own if key in state and state[key].shape != own[key].shape]
    misfits = [f"unexpected {_few(unexpected)}"] if unexpected else []
    for key in reshaped[:1]:
        misfits += [f"{key} is {tuple(state[key].shape)}, the model has {tuple(own[key].shape)}"]
    if missing and not misfits and all(key.startswith(HEADS) for key in missing):
        raise InputError(
            f"{path} has no classifier: {_few(missing)} missing, the model expects {module.num_classes} classes. Give "
            "the linear head as --head FILE, or a checkpoint with a head."
        )
    if missing or misfits:
        misfits = ([f"missing {_few(missing)}"] if missing else []) + misfits
        raise InputError(f"{path} does not fit the model: {'; '.join(misfits)}. {ADVICE}")


def _check_finite(state: State, path: str) -> None:
    broken = [key for key, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        raise InputError(f"{path} holds NaN or infinity ({_few(broken)}). Fetch it again, or train it anew.")


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
