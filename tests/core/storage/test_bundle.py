"""A bundle opens only when it is exactly what was packed; every way of being wrong is CorruptArtifact, with advice."""

import contextlib
import hashlib
import json
import math
import os
import shutil
from typing import get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pomt_trt.core.errors import CorruptArtifact, InputError
from pomt_trt.core.records import Bundle
from pomt_trt.core.storage import bundle as bundles
from tests import fakes

RELAXED = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


@pytest.fixture
def packed(tmp_path):
    """Path of a sound bundle."""
    sources, manifest = fakes.made_up_sources(tmp_path / "sources")
    bundles.pack(str(tmp_path / "bundle"), manifest, sources)
    return tmp_path / "bundle"


def refused(folder, verify=True):
    with pytest.raises(CorruptArtifact) as caught:
        bundles.open_bundle(str(folder), verify=verify)
    text = str(caught.value)
    assert str(folder) in text and "pomt-trt bundle WORK" in text and "\n" not in text
    return text


def rewritten(folder, change):
    """Applies `change` to the manifest's object and signs it anew, as an attacker would."""
    path = folder / "bundle.json"
    body = json.loads(path.read_text())
    change(body["bundle"])
    del body["sha256"]
    before = json.dumps(body, indent=1, sort_keys=True)[:-2].encode()
    path.write_bytes(before + ',\n "sha256": "{}"\n}}\n'.format(hashlib.sha256(before).hexdigest()).encode())


@contextlib.contextmanager
def restored(path):
    """Gives a file's bytes, and writes them again at the end, for the next example."""
    whole = path.read_bytes()
    try:
        yield whole
    finally:
        path.write_bytes(whole)


def test_what_is_packed_is_what_is_opened(tmp_path):
    sources, manifest = fakes.made_up_sources(tmp_path)
    bundles.pack(str(tmp_path / "bundle"), manifest, sources)
    bundle = bundles.open_bundle(str(tmp_path / "bundle"))
    assert bundle._replace(files={}) == manifest
    assert sorted(bundle.files) == sorted(sources)
    for name, source in sources.items():
        with open(source, "rb") as file:
            assert (tmp_path / "bundle" / name).read_bytes() == file.read()


def test_numbers_survive_whatever_they_are(tmp_path):
    sources, manifest = fakes.made_up_sources(tmp_path)
    odd = manifest.selection.chosen._replace(latency_ms=1, accuracy=0.1 + 0.2, utility=-0.0, why='\u00e9\ud800\n"')
    manifest = manifest._replace(
        selection=manifest.selection._replace(chosen=odd), engine=manifest.engine._replace(build_s=math.nan)
    )
    bundles.pack(str(tmp_path / "bundle"), manifest, sources)
    opened = bundles.open_bundle(str(tmp_path / "bundle"))
    assert opened.selection.chosen == odd and math.isnan(opened.engine.build_s)


@RELAXED
@given(st.data())
def test_any_changed_byte_of_any_file_is_refused(packed, data):
    path = packed / data.draw(st.sampled_from(sorted(os.listdir(str(packed)))))
    with restored(path) as whole:
        place = data.draw(st.integers(0, len(whole) - 1))
        byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[place]))
        path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
        refused(packed)


@RELAXED
@given(st.data())
def test_any_cut_or_lengthened_file_is_refused_without_hashing(packed, data):
    path = packed / data.draw(st.sampled_from(sorted(os.listdir(str(packed)))))
    with restored(path) as whole:
        shorter = st.integers(0, len(whole) - 1).map(lambda cut: whole[:cut])
        path.write_bytes(data.draw(shorter | st.binary(min_size=1).map(whole.__add__)))
        refused(packed, verify=False)


@RELAXED
@given(st.binary(max_size=200) | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_rubbish_as_manifest_is_refused(packed, rubbish):
    with restored(packed / "bundle.json"):
        (packed / "bundle.json").write_bytes(rubbish)
        refused(packed)


@pytest.mark.parametrize("rubbish", ["[" * 100000, '{"a":' * 100000, "9" * 10000, "null", "[]", '{"format": []}'])
def test_json_that_exhausts_the_decoder_is_refused(packed, rubbish):
    (packed / "bundle.json").write_text(rubbish)
    refused(packed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@RELAXED
@given(st.data())
def test_a_signed_manifest_with_any_value_anywhere_opens_or_is_refused(packed, data):
    def change(value):
        while True:
            key = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else list(range(len(value)))))
            if not (isinstance(value[key], (dict, list)) and value[key]) or data.draw(st.booleans()):
                break
            value = value[key]
        value[key] = data.draw(JSON)

    with restored(packed / "bundle.json"), contextlib.suppress(CorruptArtifact):
        rewritten(packed, change)
        bundles.open_bundle(str(packed))


def test_a_signed_manifest_that_makes_no_sense_is_refused(packed):
    rewritten(packed, lambda bundle: bundle["candidate"]["schedule"].update(tokens=[]))
    assert "not a manifest" in refused(packed)
    rewritten(packed, lambda bundle: bundle["model"].pop("classes"))
    assert "ModelSpec has no classes" in refused(packed)


def test_the_signing_used_by_these_tests_is_the_real_one(packed):
    rewritten(packed, lambda bundle: None)
    bundles.open_bundle(str(packed))


ESCAPES = ["../secret", "/etc/passwd", "..", ".", "", "a/b", "a\\b", ".hidden", "bundle.json", "a\n", "a\0b", "\u00e9"]
ESCAPES += ["x" * 101]


@pytest.mark.parametrize("name", ESCAPES)
def test_a_name_that_is_no_plain_file_name_is_refused_before_it_is_touched(packed, name):
    (packed.parent / "secret").write_bytes(b"x")
    rewritten(packed, lambda bundle: bundle["files"].update({name: {"bytes": 1, "sha256": "0" * 64}}))
    assert "plain file name" in refused(packed)


@pytest.mark.parametrize("name", ESCAPES + ["absent"])
def test_an_engine_outside_the_list_is_refused(packed, name):
    rewritten(packed, lambda bundle: bundle["engine"].update(file=name))
    assert "not listed" in refused(packed)


@pytest.mark.parametrize(
    "entry", [{}, {"bytes": 1}, {"bytes": "1", "sha256": "0" * 64}, {"bytes": True, "sha256": "0" * 64},
              {"bytes": 1, "sha256": "0" * 63}, {"bytes": 1, "sha256": None}, {"bytes": 1, "sha256": "0" * 64, "x": 1}]
)  # fmt: skip
def test_an_entry_that_is_not_a_size_and_a_hash_is_refused(packed, entry):
    rewritten(packed, lambda bundle: bundle["files"].update({"golden.npz": entry}))
    assert "size and a sha256" in refused(packed)


def as_link(path):
    """The right bytes, by a symbolic link."""
    target = path.parent.parent / path.name
    shutil.move(str(path), str(target))
    path.symlink_to(target)


def as_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "change, name, said",
    [
        (lambda path: path.write_bytes(b""), "extra.so", "'extra.so' is not listed"),
        (lambda path: path.unlink(), "weights.bin", "'weights.bin' is missing"),
        (as_link, "weights.bin", "weights.bin is not a regular file"),
        (as_folder, "golden.npz", "golden.npz is not a regular file"),
        (as_link, "bundle.json", "bundle.json is not a regular file"),
        (as_folder, "bundle.json", "bundle.json is not a regular file"),
    ],
)
def test_a_file_that_is_not_there_as_listed_is_refused_and_named(packed, change, name, said):
    change(packed / name)
    assert said in refused(packed, verify=False)


def test_a_manifest_beyond_the_limit_is_not_read(packed, monkeypatch):
    monkeypatch.setattr(bundles, "MANIFEST_LIMIT_BYTES", 1000)
    assert "at most 1000 bytes" in refused(packed)


def test_a_newer_schema_says_so(packed):
    text = (packed / "bundle.json").read_text()
    (packed / "bundle.json").write_text(text.replace('"schema": 1', '"schema": 2'))
    said = refused(packed)
    assert "was made by a newer pomt-trt" in said and "of schema 2" in said and "schema 1" in said


def optional_fields(value, kind=Bundle):
    """(object in the manifest, name) of every field with a default, at any depth of records in records."""
    for name, hint in get_type_hints(kind).items():
        if name in kind._field_defaults:
            yield value, name
        elif hasattr(hint, "_fields"):
            yield from optional_fields(value[name], hint)


def test_an_older_bundle_lacks_what_came_later_and_opens(packed):
    def without(bundle):
        found = list(optional_fields(bundle))
        assert {"fp32_nodes", "details", "merged", "kind", "task", "schedule"} <= {name for _, name in found}
        for value, name in found:
            del value[name]

    before = bundles.open_bundle(str(packed))
    rewritten(packed, without)
    opened = bundles.open_bundle(str(packed))
    assert (opened.fp32_nodes, opened.model.task, opened.candidate.id) == ((), "classification", "r004")
    assert opened.files == before.files


def test_a_field_that_came_and_went_and_holds_nothing_is_left_out(packed):
    """As a selection's eager baseline, which 0.2 wrote as null."""
    before = bundles.open_bundle(str(packed))
    rewritten(packed, lambda bundle: bundle["selection"].update(eager=None))
    assert bundles.open_bundle(str(packed)) == before


@pytest.mark.parametrize("place", ["selection", "engine", "model"])
def test_a_field_of_a_newer_release_says_so(packed, place):
    rewritten(packed, lambda bundle: bundle[place].update(energy_mj=1.5))
    said = refused(packed)
    assert "was made by a newer pomt-trt" in said and "energy_mj" in said and "Update pomt-trt here" in said


@pytest.mark.parametrize("key, value, said", [
    ("sha256", "0" * 64, "sha256 of r004.engine"),
    ("bytes", 1, "bytes of r004.engine"),
    ("weights_sha256", "0" * 64, "sha256 of weights.bin"),
    ("candidate_id", "r000", "r000 stands where r004 belongs"),
    ("input_shape", [1, 3, 8, 8], "input shape of r004.engine"),
])  # fmt: skip
def test_an_engine_record_that_contradicts_the_rest_is_refused(packed, key, value, said):
    rewritten(packed, lambda bundle: bundle["engine"].update({key: value}))
    assert said in refused(packed, verify=False)


def test_a_folder_that_is_no_bundle_is_the_users_mistake(tmp_path):
    with pytest.raises(InputError, match="there is no bundle folder .*pomt-trt bundle WORK"):
        bundles.open_bundle(str(tmp_path / "absent"))
    with pytest.raises(InputError, match="holds no bundle.json.*pomt-trt bundle WORK"):
        bundles.open_bundle(str(tmp_path))
