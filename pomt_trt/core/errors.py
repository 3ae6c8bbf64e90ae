"""Every error a user can meet, with its exit code and what that means in a command's help.

A message says what happened, with both values, and then what to do.
"""

from typing import Dict, List, Type

INTERRUPTED = 130  # by Ctrl-C: 128 + SIGINT, as shells count


class PomtError(Exception):
    """Base of all errors that are explained to the user in one line.

    exit_code is that of the process, and meaning is what a command's help says of it.
    """

    exit_code = 1
    meaning = "another error"


class UsageError(PomtError):
    """The command or call asks for something that cannot be."""

    exit_code = 2
    meaning = "usage"


class InputError(PomtError):
    """The model, checkpoint, images or labels are not usable."""

    exit_code = 3
    meaning = "data or model"


class MissingDependency(PomtError):
    """A package is absent; the message names the machine where the stage belongs and the line that installs it."""

    exit_code = 4
    meaning = "missing dependency"


class BuildFailed(PomtError):
    """No engine came out of a build."""

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
    """A file was made from inputs that have changed since."""


class CorruptArtifact(PomtError):
    """A file is truncated, damaged, or holds what it must not."""

    exit_code = 9
    meaning = "corrupt file"


class UnstableMeasurement(PomtError):
    """The noise of a measurement exceeds the bound within which it may be quoted."""

    exit_code = 10
    meaning = "unstable measurement"


class SomeInputsFailed(PomtError):
    """Some inputs failed; the others were done."""

    exit_code = 11
    meaning = "some inputs failed and the others are done"


class WorkFolderUnusable(PomtError):
    """The work folder is locked by another process, not writable, or its disk is full."""

    exit_code = 12
    meaning = "work folder unusable"


class TrainingDiverged(PomtError):
    """A training's loss or parameters are no longer numbers; what was saved before is sound."""

    exit_code = 13
    meaning = "training diverged"


def exit_codes() -> Dict[int, str]:
    """Every exit code of a command and what it means, by rising code."""
    found = {0: "done", INTERRUPTED: "interrupted"}
    kinds: List[Type[PomtError]] = [PomtError]
    for kind in kinds:
        found[kind.exit_code] = kind.meaning
        kinds += kind.__subclasses__()
    return dict(sorted(found.items()))
