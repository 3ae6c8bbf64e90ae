"""core/data/image_files: which files of a folder are images, and what is said of the others."""

import io
import os

from pomt_trt.core.data import image_files


def make(root, *paths):
    """Empty files."""
    for path in paths:
        os.makedirs(os.path.dirname(str(root.join(path))), exist_ok=True)
        root.join(path).write("")
    return str(root)


def test_files_of_other_kinds_are_counted_and_said(tmpdir, caplog):
    root = make(tmpdir, "cat/a.png", "cat/b.HEIC", "cat/c.heic", "dog/d.png", "dog/notes.txt", "dog/README", "dog/.x")
    assert [len(paths) for paths in image_files.images_under(root)] == [2]
    caplog_of_all = caplog.messages[:]
    caplog.clear()
    image_files.images_under(os.path.join(root, "cat"), os.path.join(root, "dog"))
    assert caplog.messages == caplog_of_all, "folders of one folder are said together"
    left_out = "files that are no images are left out: 2 .heic, 1 .txt, 1 without an ending"
    assert caplog.messages == ["{}: {}".format(root, left_out)]


def test_infer_says_so_once_for_a_folder_and_nothing_of_images_alone(tmpdir, caplog):
    root = make(tmpdir, "a/1.png", "a/2.heic", "b/3.gif", "b/4.png")
    assert len(list(image_files.files_of([root], io.BytesIO()))) == 2
    assert caplog.messages == ["{}: files that are no images are left out: 1 .gif, 1 .heic".format(root)]
    caplog.clear()
    assert (
        len(list(image_files.files_of([os.path.join(root, "a", "1.png")], io.BytesIO()))) == 1 and not caplog.messages
    )
