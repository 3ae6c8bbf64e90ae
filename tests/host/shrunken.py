"""timm's own vision transformers, made so small that one exports in a moment; what a name stands for stays as it is."""

import functools

import timm
import torch

from pomt_trt.host import backbones

FILES = ("vision_transformer", "deit", "eva", "beit", "vision_transformer_relpos", "naflexvit")  # of timm.models
SIZES = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "num_heads": 3, "depth": 3, "num_classes": 5}
OF_FILE = {"naflexvit": {**SIZES, "pos_embed_grid_size": (4, 4)}}
OTHER = {"sapiens2": {"num_kv_heads": (3, 1, 3)}}  # ending of a name -> what has an entry for each block


def made(name):
    """The model of that name, small, with weights under which neither attention nor logits are flat."""
    torch.manual_seed(0)
    model = timm.create_model(name, **{**_sizes(name), **OTHER.get(name.rpartition("_")[2], {})}).eval()
    for name_of, parameter in model.named_parameters():
        if parameter.ndim > 1:  # of Beit's biases too, which are 0 at first
            torch.nn.init.normal_(parameter, std=0.15)
        if "gamma" in name_of:  # of LayerScale: so small at first that a block does nothing
            torch.nn.init.constant_(parameter, 0.5)
    return model


@functools.cache
def accepted():
    """The names of all models that pomt-trt takes."""
    names = [name for file in FILES for name in timm.list_models(module=file)]
    return [name for name in names if backbones.refusal(made(name)) is None]


@functools.cache
def kinds():
    """One name for each structure, in timm's order: names that differ in sizes alone are the same model here."""
    first = {}
    for name in accepted():
        first.setdefault(_structure(made(name)), name)
    return list(first.values())


def parts(name):
    """Names of the classes that the model's blocks are built of."""
    return {type(part).__name__ for part in made(name).blocks.modules()}


def _structure(model):
    names = ("global_pool", "num_prefix_tokens", "no_embed_class", "pool_include_prefix", "dynamic_img_size")
    settings = tuple(getattr(model, name, None) for name in names)
    return repr(model), settings, getattr(model, "pos_embed", None) is None


def _sizes(name):
    file = next(file for file in FILES if name in timm.list_models(module=file))
    return OF_FILE.get(file, SIZES)
