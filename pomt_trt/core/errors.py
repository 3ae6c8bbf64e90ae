"""Every error a user can meet, with its exit code.

    PomtError                  1
    +-- UsageError             2   the command asks for something that cannot be
    +-- InputError             3   data or model is not usable
    +-- MissingDependency      4   a package or library is not installed here
    +-- BuildFailed            5   an engine could not be built
    +-- ConstraintUnmet        6   no candidate meets the constraints
    +-- VerificationFailed     7   two things that must agree do not
    +-- WrongDevice            8   an engine of another device or release
    |   +-- StaleArtifact      8   a file whose inputs have changed since
    +-- CorruptArtifact        9   a file that is truncated, damaged or not ours
    +-- UnstableMeasurement   10   noise above the stated bound
    +-- SomeInputsFailed      11   infer: bad images among good ones
    +-- WorkFolderUnusable    12   locked, not writable, or the disk is full
    +-- TrainingDiverged      13   a loss is no number

A message says what happened, with both values, and then what to do.
"""


class PomtError(Exception):
    """Base of all errors that are explained to the user in one line; exit_code is the process's."""

    exit_code = 1


class UsageError(PomtError):
    """The command or call asks for something that cannot be."""

    exit_code = 2


class InputError(PomtError):
    """The model, checkpoint, images or labels are not usable."""

    exit_code = 3


class MissingDependency(PomtError):
    """A package is absent; the message names the machine where the stage belongs and the line that installs it."""

    exit_code = 4


class BuildFailed(PomtError):
    """No engine came out of a build."""

    exit_code = 5


class ConstraintUnmet(PomtError):
    """No candidate, not even R = 0, meets the constraints."""

    exit_code = 6


class VerificationFailed(PomtError):
    """Two computations that must agree do not."""

    exit_code = 7


class WrongDevice(PomtError):
    """The engine was built for another device, engine release or setting."""

    exit_code = 8


class StaleArtifact(WrongDevice):
    """A file was made from inputs that have changed since."""


class CorruptArtifact(PomtError):
    """A file is truncated, damaged, or holds what it must not."""

    exit_code = 9


class UnstableMeasurement(PomtError):
    """The noise of a measurement exceeds the bound within which it may be quoted."""

    exit_code = 10


class SomeInputsFailed(PomtError):
    """Some inputs failed; the others were done."""

    exit_code = 11


class WorkFolderUnusable(PomtError):
    """The work folder is locked by another process, not writable, or its disk is full."""

    exit_code = 12


class TrainingDiverged(PomtError):
    """A training's loss or parameters are no longer numbers; what was saved before is sound."""

    exit_code = 13
