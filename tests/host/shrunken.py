"""timm's own vision transformers, made so small that one exports in a moment; what a name stands for stays as it is."""

import functools

import timm
import torch

from pomt_trt.core.errors import InputError
from pomt_trt.host.models import loading

FILES = ("vision_transformer", "deit")  # of timm.models: a VisionTransformer of another file has a stem, and is refused
SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "num_heads": 3, "depth": 3, "num_classes": 5}


def made(name):
    """The model of that name, small, with weights under which neither attention nor logits are flat."""
    torch.manual_seed(0)
    model = timm.create_model(name, **SIZES).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    return model


@functools.cache
def accepted():
    """The names of all models that pomt-trt takes."""
    return [name for file in FILES for name in timm.list_models(module=file) if _takes(name)]


@functools.cache
def kinds():
    """One name for each structure, in timm's order: names that differ in sizes alone are the same model here."""
    first = {}
    for name in accepted():
        first.setdefault(_structure(made(name)), name)
    return list(first.values())


def parts(name):
    """Names of the classes that the model is built of."""
    return {type(part).__name__ for part in made(name).modules()}


def _takes(name):
    try:
        loading.check_plain(made(name), name)
    except InputError:
        return False
    return True


def _structure(model):
    settings = (model.global_pool, model.num_prefix_tokens, model.no_embed_class, model.pool_include_prefix)
    return repr(model), settings, model.pos_embed is None
