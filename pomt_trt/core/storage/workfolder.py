"""The paths of a work folder, one a line, and the lock that lets only one process write there.

Disk: there is one copy of WEIGHTS for each form of graphs, for each device whose engines read it (ONNX Runtime's do;
TensorRT's engines hold their own), and in each bundle. Where the file system has reflinks, copies share their blocks.
"""

import contextlib
import os
import re
import shutil
from typing import Callable, Iterator, List

from pomt_trt.core.errors import WorkFolderUnusable
from pomt_trt.core.storage import store

WEIGHTS = "weights.bin"  # external data of the ONNX files beside it; never a link, since onnx refuses links


def _path(template: str) -> Callable[..., str]:
    """A method that gives the path of a template, with its arguments in place of the names in braces."""
    form = re.sub(r"{\w+}", "%s", template)

    def path(self: "WorkFolder", *ids: str) -> str:
        return os.path.join(self.root, form % ids)

    return path


class WorkFolder:
    """The paths of one experiment. Each is a method that takes the ids in braces, in their order."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    experiment = _path("experiment.json")  # its record
    golden = _path("golden.npz")  # real inputs and the logits of R = 0 on them
    training = _path("training.json")  # the record of the training of learned parameters, where there is one

    onnx = _path("onnx/{form}")  # a folder
    family = _path("onnx/{form}/family.json")  # the record of the form's graphs
    chains = _path("onnx/{form}/chains.json")  # the record of the graphs of block probes
    graph = _path("onnx/{form}/{candidate}.onnx")
    weights = _path("onnx/{form}/" + WEIGHTS)  # which all graphs of the form share
    plain = _path("onnx/{form}/plain.json")  # the record with which torch alone runs the weights, where it can

    accuracy = _path("accuracy/{candidate}.json")
    accuracy_arrays = _path("accuracy/{candidate}.npz")  # logits and score margins on the golden inputs
    sensitivity = _path("accuracy/sensitivity.json")  # the accuracy cost of cutting tokens at each block

    engines = _path("engines/{device}")  # the folder of engines and their records
    engine_record = _path("engines/{device}/{candidate}.json")
    failure = _path("engines/{device}/{candidate}.failed.json")  # why a candidate has no engine
    latencies = _path("latency/{device}")  # the folder of latency profiles
    latency = _path("latency/{device}/{candidate}.json")
    builds = _path("latency/{device}/{candidate}.builds.json")  # latencies of all its engines, where there are several
    blocks = _path("latency/{device}/blocks.json")  # the block latencies

    eager = _path("eager-{device}.json")  # latencies of some candidates in PyTorch eager
    selection = _path("selection-{device}.json")
    figure = _path("selection-{device}.png")
    curve = _path("curve-{device}.json")  # as measured, for replay
    bundle = _path("bundle-{device}")  # the deployment folder

    def forms(self) -> List[str]:
        """Forms whose graphs are complete."""
        folder = os.path.join(self.root, "onnx")
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return [name for name in names if os.path.isfile(self.family(name))]


def disk_bytes(folder: str) -> int:
    """The disk space of a folder: blocks of all its files and folders, as du counts; reflinks count as copies."""
    blocks = os.lstat(folder).st_blocks
    for directory, folders, names in os.walk(folder):
        blocks += sum(os.lstat(os.path.join(directory, name)).st_blocks for name in folders + names)
    return blocks * 512  # the unit of st_blocks on every file system


@contextlib.contextmanager
def locked(folder: str) -> Iterator[None]:
    """Locks the work folder for this process. The operating system releases the lock when the process dies.

    Raises: WorkFolderUnusable if another process holds it.
    """
    import fcntl

    with store.explained(folder):
        os.makedirs(folder, exist_ok=True)
        lock = open(os.path.join(folder, ".lock"), "a+")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise WorkFolderUnusable(
                "{} is in use by process {}. Wait for it, or choose another --work folder.".format(
                    folder, lock.read().strip() or "(unknown)"
                )
            ) from None
        except OSError as error:
            raise WorkFolderUnusable(
                "{} cannot be locked: {}. Choose a --work folder on a local disk.".format(folder, error.strerror)
            ) from error
        with store.explained(folder):
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
        _tidy(folder)
        yield


def _tidy(folder: str) -> None:
    """Deletes temporary files of killed processes, and copies weights that are hard links (release 0.2 made such).

    The lock keeps others from writing here. A work folder inside this one has its own lock, and is left alone.
    """
    for directory, folders, names in os.walk(folder):
        for name in [name for name in folders if name.startswith(".part-")]:
            shutil.rmtree(os.path.join(directory, name), ignore_errors=True)
        folders[:] = [name for name in folders if not os.path.exists(os.path.join(directory, name, ".lock"))]
        for path in [os.path.join(directory, name) for name in names]:
            if os.path.basename(path).startswith(".part-"):
                with contextlib.suppress(OSError):
                    os.unlink(path)
            elif os.path.basename(path) == WEIGHTS and os.lstat(path).st_nlink > 1:
                store.copy(path, path)
