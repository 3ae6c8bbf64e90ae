"""The models of this repository can be trained again: here on a few pictures, through all of the way."""

import io
import json

import numpy as np
import pytest
from PIL import Image

timm = pytest.importorskip("timm", reason="trains models")
import torch

from pomt_trt.host.models import loading
from scripts.examples import bundled, mimetic, supervised, train_cifar10, train_digits, train_scenes

FEW = 24  # pictures


def few(source):
    """A bundled source of pictures, cut short, and the same for every seed and side."""
    pictures = tuple(part[:FEW] for part in source(held_out=True))
    return lambda seed=0, *, held_out: pictures


@pytest.mark.parametrize("script, task", [(train_digits, train_digits.DIGITS), (train_scenes, train_scenes.SCENES)])
def test_a_bundled_model_is_trained_and_written(script, task, tmp_path, monkeypatch):
    monkeypatch.setitem(bundled.BUNDLED, task.name, few(bundled.BUNDLED[task.name]))
    flags = bundled.parser(script.__doc__, "", task, epochs=1, learning_rate=1e-3)
    bundled.run(task, flags.parse_args(["--batch-size", "8", "--threads", "1", "--out", str(tmp_path)]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    made, shipped = loading.load(f"local-dir:{tmp_path}"), loading.load(task.name)
    assert made.spec._replace(name="", weights="") == shipped.spec._replace(name="", weights="")


def test_the_pictures_of_an_epoch_are_new_and_the_held_out_ones_stay():
    sets = bundled.pictures(train_digits.DIGITS, seed=1)
    held = sets.validation[0][0]
    first = torch.stack([sets.training[number][0] for number in range(3)])
    sets.training.begin(1)
    assert not torch.equal(first, torch.stack([sets.training[number][0] for number in range(3)]))
    assert torch.equal(held, sets.validation[0][0])


def test_gradients_are_scaled_down_before_a_step():
    model = torch.nn.Linear(2, 1, bias=False)
    optimizer = supervised.optimizer_of(model, 0.1)
    model.weight.grad = torch.tensor([[3.0, 4.0]])
    optimizer.step()
    assert model.weight.grad.norm().item() == pytest.approx(supervised.LARGEST_GRADIENT, abs=1e-4)


def test_attention_begins_mimetic():
    """A query-key product is near 0.7 (noise + I), so its diagonal stands out."""
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
    mimetic.initialise(vit)
    query, key, _ = vit.blocks[0].attn.qkv.weight.detach().split(vit.embed_dim)
    product = query[:64].T @ key[:64]
    assert product.diagonal().mean() > 10 * (product - torch.diag(product.diagonal())).mean().abs()


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """The path of an .npz file with JPEGs of one colour each, by class."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # which the script sets for good
    files = []
    for label in range(10):
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), (25 * label, 255 - 25 * label, 128)).save(buffer, "jpeg")
        files += [np.frombuffer(buffer.getvalue(), np.uint8)] * 4
    offsets = np.cumsum([0, *map(len, files)])
    path = tmp_path / "cifar.npz"
    names = [f"class {label}" for label in range(10)]
    np.savez(path, jpeg=np.concatenate(files), offsets=offsets, labels=np.arange(40) // 4, classes=names)
    return path


def small(cifar, out, *more):
    """Flags of a tiny training on the CPU."""
    flags = f"--train {cifar} --test {cifar} --out {out} --device cpu --image-px 32 --patch-px 8 --dim 24 --depth 2 "
    return [*flags.split(), "--mlp-ratio", "2", "--batch-size", "8", "--epochs", "3", *more]


def test_a_cifar10_model_is_trained_written_and_recorded(cifar, tmp_path):
    train_cifar10.main(small(cifar, tmp_path / "out"))
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert len(record["epochs"]) == 3 and 0 <= record["test_accuracy"] <= 1
    assert loading.load(f"local-dir:{tmp_path / 'out'}").spec.labels == tuple(f"class {label}" for label in range(10))


def test_a_budget_of_minutes_ends_a_training_and_its_rates_with_it(cifar, tmp_path):
    train_cifar10.main(small(cifar, tmp_path / "out", "--max-minutes", "1e-9"))
    assert json.loads((tmp_path / "out" / "training.json").read_text())["epochs"] == []
