"""Paths of a method's learned parameters, which are in a file beside the model, and of the record of their training."""

import os
from typing import Optional

from pomt_trt.core.errors import InputError

ZOO = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "zoo")
BUNDLED = ("digits", "scenes")  # names of models, and folders of the zoo
LEARNED = {"ltmp": "thresholds", "cropr": "scorers"}  # by method


def file_of(model: str, method: str) -> Optional[str]:
    """The file of a method's learned parameters for a model (digits, scenes, local-dir:PATH); None if it has none.

    Raises: InputError with the command that trains them, where the file is absent.
    """
    if method not in LEARNED:
        return None
    folder = os.path.join(ZOO, model) if model in BUNDLED else model.partition("local-dir:")[2]
    path = os.path.join(folder, method + ".safetensors")
    if not folder or not os.path.isfile(path):
        raise InputError(
            "{0} needs learned {1}, and {2} has none. Train them: pomt-trt train {0} {3} --data DIR --work T; then "
            "compile local-dir:T".format(method, LEARNED[method], folder or model, model)
        )
    return path


def record_of(model: str, method: str) -> Optional[str]:
    """The record (core/records.Training) of the training that made this file; None where there is no such record.

    Raises: as `file_of`.
    """
    path = file_of(model, method)
    record = path[: -len("safetensors")] + "json" if path else None
    return record if record and os.path.isfile(record) else None
