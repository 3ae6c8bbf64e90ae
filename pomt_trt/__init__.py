"""pomt-trt: compiles vision transformers to engines with the token count that is best on the device.

Each function imports what it needs when it is called, so that a board needs no torch.
"""

from typing import Any

__version__ = "0.4.0"
__all__ = ["compile_model", "load", "reduce_tokens"]


class _CompileModel:
    """Compiles a model into the bundle of the candidate that is chosen on this device; returns the Selection.

    Args:
        model: a timm name, 'digits', 'scenes', 'local-dir:PATH', or a timm VisionTransformer.
        work: folder for all results; the same call continues an interrupted run.
        **flags: those of `pomt-trt compile`, such as max_accuracy_drop for --max-accuracy-drop. Their units and
            meanings: `pomt-trt compile --help`.
    Raises: pomt_trt.core.errors.PomtError, which says what happened and what to do; TypeError for an unknown flag.
    """

    def __call__(self, model: Any, *, work: str, **flags: Any) -> Any:
        from pomt_trt.pipeline import options, run_stages

        if isinstance(model, str):
            return run_stages.compile_all(options.make(model, work, **flags))
        return run_stages.compile_all(options.make(type(model).__name__, work, **flags), module=model)

    @property
    def __signature__(self) -> Any:  # made when inspect asks for it, since the table and inspect take time to import
        from pomt_trt.core.flags import flag, table

        return flag.signature((table.MODEL, table.WORK, *table.COMPILE))


compile_model = _CompileModel()


def load(bundle: str, **flags: Any) -> Any:
    """Opens a bundle; returns a Classifier: images -> probabilities (n, classes).

    By the model's task it is another: an Embedder gives features (n, dimension), a MultiLabelClassifier the probability
    of each label by itself, a Regressor values; a Segmenter a list of label maps, uint8 (height, width) each.

    Args:
        bundle: folder that `pomt-trt compile` made.
        **flags: threads, waiting (pomt_trt.device.deploy.deployed.open_predictor).
    """
    from pomt_trt.device.deploy import deployed

    return deployed.open_predictor(bundle, **flags)


def reduce_tokens(model: Any, method: str, **arguments: Any) -> Any:
    """The model with fewer tokens, as a new nn.Module with the same call; the model itself is not changed.

    Args:
        model: a timm VisionTransformer.
        method: pomt, pomt-shift, topk, tome, ltmp, cropr, random or none.
        **arguments: removed=R, the net number of tokens that one block or each block removes; layer=L, the one block;
            further arguments of a method: see pomt_trt.host.models.token_reduction.reduce_tokens.
    """
    from pomt_trt.core.command import on_workstation

    with on_workstation():
        from pomt_trt.host.models import token_reduction

    return token_reduction.reduce_tokens(model, method, **arguments)
