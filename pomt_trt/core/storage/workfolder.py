"""The paths of a work folder, one method a file, and the lock that lets only one process write there.

Disk: there is one copy of WEIGHTS for each form of graphs, for each device whose engines read it (ONNX Runtime's do;
TensorRT's engines hold their own), and in each bundle. Where the file system has reflinks, copies share their blocks.
"""

import contextlib
import os
import shutil
from typing import Iterator, List

from pomt_trt.core.errors import WorkFolderUnusable
from pomt_trt.core.storage import store

WEIGHTS = "weights.bin"  # external data of the ONNX files beside it; never a link, since onnx refuses links


class WorkFolder:
    """The paths of one experiment."""

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

    def experiment(self) -> str:
        """The record of the experiment."""
        return self._at("experiment.json")

    def golden(self) -> str:
        """Real inputs and the logits of R = 0 on them."""
        return self._at("golden.npz")

    def onnx(self, form: str) -> str:
        """The folder of one form's graphs and weights."""
        return self._at("onnx", form)

    def family(self, form: str) -> str:
        """The record of one form's graphs."""
        return self._at("onnx", form, "family.json")

    def chains(self, form: str) -> str:
        """The record of the graphs of block probes."""
        return self._at("onnx", form, "chains.json")

    def graph(self, form: str, candidate_id: str) -> str:
        """One candidate's graph."""
        return self._at("onnx", form, candidate_id + ".onnx")

    def weights(self, form: str) -> str:
        """The weights that all graphs of a form share."""
        return self._at("onnx", form, WEIGHTS)

    def plain(self, form: str) -> str:
        """The record with which torch alone runs the weights of a form, where it can."""
        return self._at("onnx", form, "plain.json")

    def training(self) -> str:
        """The record of the training of the method's learned parameters, where there is one."""
        return self._at("training.json")

    def accuracy(self, candidate_id: str) -> str:
        """One candidate's accuracy."""
        return self._at("accuracy", candidate_id + ".json")

    def accuracy_arrays(self, candidate_id: str) -> str:
        """One candidate's logits and score margins on the golden inputs."""
        return self._at("accuracy", candidate_id + ".npz")

    def sensitivity(self) -> str:
        """The accuracy cost of cutting tokens at each block."""
        return self._at("accuracy", "sensitivity.json")

    def engines(self, device_id: str) -> str:
        """The folder of one device's engines and their records."""
        return self._at("engines", device_id)

    def engine_record(self, device_id: str, candidate_id: str) -> str:
        """The record of one candidate's engine."""
        return self._at("engines", device_id, candidate_id + ".json")

    def failure(self, device_id: str, candidate_id: str) -> str:
        """Why one candidate has no engine."""
        return self._at("engines", device_id, candidate_id + ".failed.json")

    def latencies(self, device_id: str) -> str:
        """The folder of one device's latency profiles."""
        return self._at("latency", device_id)

    def latency(self, device_id: str, candidate_id: str) -> str:
        """One candidate's latency profile."""
        return self._at("latency", device_id, candidate_id + ".json")

    def builds(self, device_id: str, candidate_id: str) -> str:
        """The latency of each engine that was built for one candidate, where there are several."""
        return self._at("latency", device_id, candidate_id + ".builds.json")

    def eager(self, device_id: str) -> str:
        """Latencies of some candidates in PyTorch eager."""
        return self._at("eager-{}.json".format(device_id))

    def blocks(self, device_id: str) -> str:
        """The block latencies on one device."""
        return self._at("latency", device_id, "blocks.json")

    def selection(self, device_id: str) -> str:
        """The selection for one device."""
        return self._at("selection-{}.json".format(device_id))

    def figure(self, device_id: str) -> str:
        """The figure of the selection."""
        return self._at("selection-{}.png".format(device_id))

    def curve(self, device_id: str) -> str:
        """The measured curve, for replay."""
        return self._at("curve-{}.json".format(device_id))

    def bundle(self, device_id: str) -> str:
        """The deployment folder for one device."""
        return self._at("bundle-{}".format(device_id))

    def forms(self) -> List[str]:
        """Forms whose graphs are complete."""
        folder = self._at("onnx")
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        return [name for name in names if os.path.isfile(self.family(name))]

    def _at(self, *names: str) -> str:
        return os.path.join(self.root, *names)


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
