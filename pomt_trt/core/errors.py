"""The errors that a user can see, with their exit codes.

A message says what happened, with both values, and then what to do.
"""

from typing import Dict, List, Type

INTERRUPTED = 130  # by Ctrl-C: 128 + SIGINT, as in shells


class PomtError(Exception):
    """Base of all errors that the user sees as one line.

    exit_code is that of the process; meaning is its description in a command's help.
    """

    exit_code = 1
    meaning = "another error"


class UsageError(PomtError):
    """The command or call asks for something impossible."""

    exit_code = 2
    meaning = "usage"


class InputError(PomtError):
    """The model, checkpoint, images or labels cannot be used."""

    exit_code = 3
    meaning = "data or model"


class MissingDependency(PomtError):
    """A package is absent. The message names the machine on which the stage runs, and the line that installs it."""

    exit_code = 4
    meaning = "missing dependency"


class BuildFailed(PomtError):
    """A build made no engine."""

    exit_code = 5
    meaning = "build failed"


class ConstraintUnmet(PomtError):
    """No candidate, not even R = 0, meets the constraints."""

    exit_code = 6
    meaning = "constraint unmet"


class VerificationFailed(PomtError):
    """Two computations that must agree do not."""

    exit_code = 7
    meaning = "verification failed"


class WrongDevice(PomtError):
    """The engine was built for another device, engine release or setting."""

    exit_code = 8
    meaning = "wrong device or stale file"


class StaleArtifact(WrongDevice):
    """The inputs of a file have changed since it was made."""


class CorruptArtifact(PomtError):
    """A file is truncated or damaged, or holds what it must not hold."""

    exit_code = 9
    meaning = "corrupt file"


class UnstableMeasurement(PomtError):
    """A measurement is too noisy to be quoted."""

    exit_code = 10
    meaning = "unstable measurement"


class SomeInputsFailed(PomtError):
    """Some inputs failed; the others are done."""

    exit_code = 11
    meaning = "some inputs failed and the others are done"


class WorkFolderUnusable(PomtError):
    """The work folder is locked by another process, not writable, or its disk is full."""

    exit_code = 12
    meaning = "work folder unusable"


class TrainingDiverged(PomtError):
    """The loss or the parameters of a training are not finite. What was saved before is valid."""

    exit_code = 13
    meaning = "training diverged"


def exit_codes() -> Dict[int, str]:
    """exit code -> meaning, by ascending code."""
    meanings = {0: "done", INTERRUPTED: "interrupted"}
    kinds: List[Type[PomtError]] = [PomtError]
    for kind in kinds:
        meanings[kind.exit_code] = kind.meaning
        kinds += kind.__subclasses__()
    return dict(sorted(meanings.items()))
