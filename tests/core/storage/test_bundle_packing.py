"""A bundle is packed whole or not at all, and takes the place of nothing but an older bundle."""

import os

import pytest

from pomt_trt.core.errors import CorruptArtifact, InputError, WorkFolderUnusable
from pomt_trt.core.storage import bundle as bundles
from tests import fakes


@pytest.fixture
def packed(tmp_path):
    """Path of a sound bundle."""
    sources, manifest = fakes.made_up_sources(tmp_path / "sources")
    bundles.pack(str(tmp_path / "bundle"), manifest, sources)
    return tmp_path / "bundle"


def test_packing_twice_gives_the_same_bytes_and_leaves_nothing_else(tmp_path):
    sources, manifest = fakes.made_up_sources(tmp_path / "sources")
    folder = tmp_path / "out" / "bundle"
    bundles.pack(str(folder) + os.sep, manifest, sources)
    first = (folder / "bundle.json").read_bytes()
    bundles.pack(str(folder), bundles.open_bundle(str(folder)), sources)
    assert (folder / "bundle.json").read_bytes() == first
    assert os.listdir(str(tmp_path / "out")) == ["bundle"]


def test_packing_replaces_an_older_or_damaged_bundle(packed, tmp_path):
    (packed / "bundle.json").write_bytes(b"damaged")
    sources, manifest = fakes.made_up_sources(tmp_path / "sources")
    del sources["labels.txt"]
    bundles.pack(str(packed), manifest, sources)
    assert "labels.txt" not in bundles.open_bundle(str(packed)).files


@pytest.mark.parametrize("mine", ["photo.jpg", "bundle.json/photo.jpg"])
def test_packing_never_touches_a_folder_of_somebody_elses_files(tmp_path, mine):
    sources, manifest = fakes.made_up_sources(tmp_path / "sources")
    path = tmp_path / "mine" / mine
    path.parent.mkdir(parents=True)
    path.write_bytes(b"precious")
    with pytest.raises(WorkFolderUnusable, match="is no bundle.*choose another folder"):
        bundles.pack(str(tmp_path / "mine"), manifest, sources)
    assert path.read_bytes() == b"precious"
    with pytest.raises(WorkFolderUnusable):
        bundles.pack(str(path), manifest, sources)


def test_packing_fails_whole_and_keeps_the_older_bundle(packed, tmp_path, monkeypatch):
    sources, manifest = fakes.made_up_sources(tmp_path / "sources")
    before = sorted(os.listdir(str(tmp_path)))
    with open(sources["r004.engine"], "ab") as file:
        file.write(b"changed since it was built")
    with pytest.raises(CorruptArtifact, match="r004.engine .*expected .*pomt-trt build WORK"):
        bundles.pack(str(packed), manifest, sources)
    with pytest.raises(InputError, match="absent does not exist: run the stage"):
        bundles.pack(str(packed), manifest, dict(sources, **{"golden.npz": str(tmp_path / "absent")}))
    assert sorted(os.listdir(str(tmp_path))) == before


def test_a_failed_rename_puts_the_older_bundle_back(packed, tmp_path, monkeypatch):
    sources, manifest = fakes.made_up_sources(tmp_path / "again")
    rename, calls = os.rename, []

    def second_fails(source, target):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(WorkFolderUnusable, match="disk is full"):
        bundles.pack(str(packed), manifest, sources)
    monkeypatch.undo()
    bundles.open_bundle(str(packed))


def test_packing_copies_what_a_symbolic_link_points_to(tmp_path):
    sources, manifest = fakes.made_up_sources(tmp_path / "sources")
    (tmp_path / "link").symlink_to(sources["golden.npz"])
    bundles.pack(str(tmp_path / "bundle"), manifest, dict(sources, **{"golden.npz": str(tmp_path / "link")}))
    assert not (tmp_path / "bundle" / "golden.npz").is_symlink()


def test_weights_are_copied_and_all_else_takes_no_space(packed):
    links = {name: os.stat(str(packed / name)).st_nlink for name in os.listdir(str(packed))}
    assert links.pop("weights.bin") == links.pop("bundle.json") == 1 and set(links.values()) == {2}


def test_a_bundle_of_hard_links_as_0_2_made_it_opens(packed, tmp_path):
    for name in os.listdir(str(packed)):
        os.link(str(packed / name), str(tmp_path / name))
    bundles.open_bundle(str(packed))
