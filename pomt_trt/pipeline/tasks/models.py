"""A survey of timm's models: which are accepted, with which methods."""

from typing import List, Optional

from pomt_trt.core.progress import Progress
from pomt_trt.core.records import SurveyedModel


def survey(pattern: Optional[str]) -> List[SurveyedModel]:
    """A record for each name of timm that matches a shell pattern, all without one.

    Raises: InputError where none matches; MissingDependency without torch and timm.
    """
    from pomt_trt.host.models import (
        loading,  # noqa: F401  (says what to install where torch or timm is missing)
        survey,
    )

    names, found = survey.names_like(pattern), []
    with Progress("models", len(names)) as bar:
        for record in survey.survey(names):
            found.append(record)
            bar.step(record.name)
    return found
