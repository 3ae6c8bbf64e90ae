"""core/storage/shards: which files an index of weights names, and a hash of all of them."""

import json

import pytest

from pomt_trt.core.errors import InputError
from pomt_trt.core.storage import shards, store


def index(folder, weight_map):
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": weight_map}))
    return str(path)


def test_the_shards_of_an_index_lie_beside_it(tmp_path):
    (tmp_path / "1.safetensors").write_bytes(b"one")
    (tmp_path / "2.safetensors").write_bytes(b"two")
    path = index(tmp_path, {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"})
    assert shards.shards_of(path) == {
        str(tmp_path / "1.safetensors"): ["a", "c"],
        str(tmp_path / "2.safetensors"): ["b"],
    }


@pytest.mark.parametrize("name", ["../secret.bin", "/etc/passwd", "..", ""])
def test_a_shard_outside_the_folder_is_refused(name, tmp_path):
    with pytest.raises(InputError, match="A shard lies beside its index"):
        shards.shards_of(index(tmp_path, {"a": name}))


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": {}}', '{"weight_map": {"a": 3}}'])
def test_a_file_that_is_no_index_is_refused(content, tmp_path):
    path = tmp_path / "x.index.json"
    path.write_text(content)
    with pytest.raises(InputError, match="x.index.json is no index of shards: .*Fetch it again"):
        shards.shards_of(str(path))


def test_the_hash_of_an_index_changes_with_a_shard_and_that_of_a_file_is_its_own(tmp_path):
    shard = tmp_path / "1.safetensors"
    shard.write_bytes(b"one")
    path = index(tmp_path, {"a": "1.safetensors"})
    before = shards.sha256_of_weights(path)
    shard.write_bytes(b"two")
    assert shards.sha256_of_weights(path) != before
    assert shards.sha256_of_weights(str(shard)) == store.sha256_of(str(shard))
