"""pomt-trt: compiles vision transformers to engines with the token count that the device rewards most.

Each function imports its room when it is called, so that a board needs no torch.
"""

from typing import Any

__version__ = "0.3.0"
__all__ = ["compile_model", "load", "reduce_tokens"]


def compile_model(model: Any, *, work: str, **flags: Any) -> Any:
    """Compiles a model into the bundle that the device runs best; returns the Selection.

    Args:
        model: a timm name, 'digits', 'scenes', 'local-dir:PATH', or a timm VisionTransformer.
        work: folder that holds everything; an interrupted run goes on from it.
        **flags: those of `pomt-trt compile`, with underscores: data, method, tokens, rule ... (see
            pomt_trt.pipeline.options).
    Raises: pomt_trt.core.errors.PomtError, with what happened and what to do.
    """
    from pomt_trt.pipeline import options, run_stages

    if isinstance(model, str):
        return run_stages.compile_all(options.make(model, work, **flags))
    return run_stages.compile_all(options.make(type(model).__name__, work, **flags), module=model)


def load(bundle: str, **flags: Any) -> Any:
    """Opens a bundle; returns a Classifier: images -> probabilities (n, classes).

    Where the model labels every patch it is a Segmenter: images -> a list of label maps, uint8 (height, width) each.

    Args:
        bundle: folder that `pomt-trt compile` made.
        **flags: threads, waiting (pomt_trt.device.deploy.deployed.load).
    """
    from pomt_trt.device.deploy import deployed

    return deployed.load(bundle, **flags)


def reduce_tokens(model: Any, method: str, **arguments: Any) -> Any:
    """The model with fewer tokens, as an nn.Module with the same call; the model itself is left as it is.

    Args:
        model: a timm VisionTransformer.
        method: pomt, pomt-shift, topk, tome, ltmp, cropr, random or none.
        **arguments: removed=R, net tokens in one place or in each block; layer=L, where those in one place act; and
            what else methods take, see pomt_trt.host.models.token_reduction.reduce_tokens.
    """
    from pomt_trt.core.command import on_workstation

    with on_workstation():
        from pomt_trt.host.models import token_reduction

    return token_reduction.reduce_tokens(model, method, **arguments)
