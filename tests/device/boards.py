"""Made-up boards as trees of their files (tests/data/jetson), and copies of them to be changed."""

import os
import shutil

from tests import paths


def tree(board):
    return os.path.join(paths.TESTS, "data", "jetson", board)


def copied(folder, board, files=()):
    """Copies a board's tree into a folder and writes some files there, see written; returns the root of the copy."""
    return written(shutil.copytree(tree(board), os.path.join(str(folder), board)), files)


def written(root, files):
    """Writes files below a root, where their folders are made: a dict of names and texts; returns the root."""
    for name, text in dict(files).items():
        path = os.path.join(str(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)
    return str(root)
