"""A training on the workstation, from the flags of `pomt-trt train`. host/training does the training itself."""

from typing import Any, Dict, Optional

from pomt_trt.core.command import on_workstation
from pomt_trt.core.records import Training

EPOCHS = {"ltmp": 1, "cropr": 50}
WARMUP = {"ltmp": 0.0, "cropr": 0.1}  # share of all steps; Cropr's rates then fall, LTMP's stay


def train(given: Dict[str, Any]) -> Optional[Training]:
    """Trains the method given["method"]; the other keys are the command's flags by their names.

    Returns: the record in the first of several processes, None in the others.
    Raises: UsageError or InputError for flags that do not fit; MissingDependency without torch, timm and accelerate;
        TrainingDiverged.
    """
    with on_workstation():
        from pomt_trt.host.training import loop
        from pomt_trt.host.training import train as training

    method = given["method"]
    task = training.Task(
        image_size=given["img_size"],
        augment=not given["no_augment"],
        settings=loop.Settings(
            epochs=EPOCHS[method] if given["epochs"] is None else given["epochs"],
            batch_size=given["batch"],
            warmup=WARMUP[method],
            cosine=method == "cropr",
            seed=given["seed"],
            mixed_precision=given["mixed_precision"],
            workers=given["workers"],
        ),
        **{name: given[name] for name in training.Task._fields if name in given},
    )
    if method == "ltmp":
        own = {name: given[name] for name in training.LtmpSettings._fields if name != "target"}
        return training.ltmp(task, training.LtmpSettings(target=given["reduction_target"], **own))
    own = {name: given[name] for name in training.CroprSettings._fields if name != "llf"}
    return training.cropr(task, training.CroprSettings(llf=not given["no_llf"], **own))
