"""Finds image files in folders by their endings, and says how many files of other kinds lie there."""

import logging
import os
from collections import Counter
from typing import BinaryIO, Dict, Iterable, Iterator, List, Mapping

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
LOGGER = logging.getLogger(__name__)


def files_of(inputs: Iterable[str], lines: BinaryIO) -> Iterator[str]:
    """The image files of inputs. Folders are walked in sorted order; hidden files are left out.

    Args:
        inputs: files, folders, and `-` for the paths in `lines`, one a line.
    """
    for given in inputs:
        if given == "-":
            paths = (os.fsdecode(line.rstrip(b"\r\n")) for line in lines)
            yield from files_of((path for path in paths if path not in ("", "-")), lines)
        elif os.path.isdir(given):
            unreadable: List[OSError] = []
            others: Dict[str, int] = Counter()
            for directory, folders, names in os.walk(given, onerror=unreadable.append):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for name in sorted(names):
                    if name.startswith("."):
                        continue
                    if name.lower().endswith(EXTENSIONS):
                        yield os.path.join(directory, name)
                    else:
                        others[_ending(name)] += 1
            say_others(given, others)
            yield from (error.filename for error in unreadable)  # each then fails with its own line
        else:
            yield given


def images_under(*folders: str) -> List[List[str]]:
    """For each folder the images in it and below it, in a stable order; files of other kinds are said, of all at once.

    Raises: OSError where a folder cannot be read.
    """
    others: Dict[str, int] = Counter()
    paths = [list(_walk(folder, others)) for folder in folders]
    say_others(os.path.commonpath(folders), others)
    return paths


def _walk(folder: str, others: Dict[str, int]) -> Iterator[str]:
    for directory, below, names in os.walk(folder, onerror=_raise):
        below[:] = sorted(name for name in below if not is_hidden(name))
        for name in sorted(names):
            if is_image(name):
                yield os.path.join(directory, name)
            elif not is_hidden(name):
                others[_ending(name)] += 1


def say_others(folder: str, others: Mapping[str, int]) -> None:
    """Says how many files of other kinds a folder holds, by their endings."""
    if others:
        kinds = ", ".join("{} {}".format(count, ending) for ending, count in sorted(others.items()))
        LOGGER.warning("%s: files that are no images are left out: %s", folder, kinds)


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower() or "without an ending"


def _raise(error: OSError) -> None:
    raise error  # os.walk would skip a folder that it cannot read


def is_hidden(name: str) -> bool:
    """Whether a name is of a file that programs put there unasked."""
    return name.startswith((".", "__"))  # .DS_Store, __MACOSX


def is_image(path: str) -> bool:
    """Whether a path ends as images do, and is not hidden."""
    return path.lower().endswith(EXTENSIONS) and not is_hidden(os.path.basename(path))
