"""Our preprocessing is timm's evaluation transform, pixel for pixel, on real JPEGs of every awkward kind."""

import numpy as np
import pytest
from PIL import Image

from pomt_trt.core.records import Preprocessing
from pomt_trt.device import preprocess

timm_data = pytest.importorskip("timm.data", reason="compares with timm itself")

SIZES = [(640, 480), (37, 301), (1, 1), (3, 2), (28, 28), (224, 224), (225, 223), (301, 29)]
TARGETS = [((224, 224), 0.9), ((28, 28), 1.0), ((28, 28), 0.875), ((96, 160), 0.875)]  # (height, width), crop_pct
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(width, height, mode="RGB", seed=0):
    """Smooth colours with some noise: resampling differs visibly when it is done differently."""
    bands = {"L": 1, "RGB": 3, "CMYK": 4, "RGBA": 4}[mode]
    rng = np.random.RandomState(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (7 + 3 * b)) + np.cos(columns / (11 - 2 * b)) for b in range(bands)]
    values = np.stack(waves, -1) * 50 + 127 + rng.normal(0, 12, (height, width, bands))
    values = np.clip(values, 0, 255).astype(np.uint8)
    image = Image.fromarray(values[..., 0] if bands == 1 else values[..., :3])
    return image if mode in ("L", "RGB") else Image.merge(mode, [Image.fromarray(values[..., b]) for b in range(4)])


@pytest.fixture(scope="module")
def jpegs(tmp_path_factory):
    """(width, height) -> path of one JPEG of that size."""
    folder = tmp_path_factory.mktemp("jpegs")
    paths = {size: folder / "{}x{}.jpg".format(*size) for size in SIZES}
    for size, path in paths.items():
        picture(*size).save(path, quality=90)
    return paths


def timm_says(path, size, mode, interpolation, crop_pct, channels=3, mean=MEAN, std=STD):
    with Image.open(path) as file:
        image = file.convert("RGB" if channels == 3 else "L")
    transform = timm_data.create_transform(
        input_size=(channels,) + size,
        is_training=False,
        interpolation=interpolation,
        mean=mean,
        std=std,
        crop_pct=crop_pct,
        crop_mode=mode,
    )
    return transform(image).numpy()


def ours(path, size, mode, interpolation, crop_pct, channels=3, mean=MEAN, std=STD):
    record = Preprocessing(size[0], size[1], channels, mean, std, interpolation, crop_pct, mode)
    return preprocess.normalise(preprocess.read(str(path), record), record)


def assert_same(path, *arguments, **options):
    expected, got = timm_says(path, *arguments, **options), ours(path, *arguments, **options)
    assert got.shape == expected.shape and got.dtype == np.float32
    assert np.abs(got - expected).max() <= 1e-5


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_equals_timm_for_every_crop_mode_and_interpolation(jpegs, mode, interpolation):
    for (width, height), path in jpegs.items():
        for size, crop_pct in TARGETS:
            if mode == "border" and min(round(side * min(size) / max(width, height)) for side in (width, height)) == 0:
                continue  # nothing would be left of it; timm fails as well
            assert_same(path, size, mode, interpolation, crop_pct)


@pytest.mark.parametrize("kind", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_timm_on_jpegs_of_every_colour(tmp_path, kind, channels):
    path = tmp_path / "a.jpg"
    picture(333, 250, kind).save(path, quality=85)
    mean, std = (MEAN, STD) if channels == 3 else ((0.5,), (0.25,))
    for mode in ("center", "squash", "border"):
        assert_same(path, (224, 224), mode, "bicubic", 0.95, channels=channels, mean=mean, std=std)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_ignores_exif_orientation_as_timm_does(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(320, 200).save(tmp_path / "turned.jpg", exif=exif)
    assert_same(tmp_path / "turned.jpg", (224, 224), "center", "bicubic", 0.9)


def test_equals_timm_on_a_huge_picture(tmp_path):
    Image.effect_mandelbrot((4800, 3600), (-2, -1.2, 1, 1.2), 40).convert("RGB").save(tmp_path / "huge.jpg")
    assert_same(tmp_path / "huge.jpg", (224, 224), "center", "bicubic", 0.9)


@pytest.mark.parametrize("save_as", ["PNG", "WEBP", "GIF", "BMP"])
def test_equals_timm_on_palettes_and_transparency(tmp_path, save_as):
    image = picture(120, 90, "RGBA")
    image = image.convert("RGB").quantize(16) if save_as == "GIF" else image
    image.save(tmp_path / "a", format=save_as)
    assert_same(tmp_path / "a", (64, 64), "center", "bilinear", 0.875)


def test_equals_timm_under_the_data_config_of_a_model(tmp_path):
    picture(500, 375).save(tmp_path / "a.jpg")
    for name in ("deit_small_patch16_224", "vit_small_patch14_dinov2", "vit_base_patch16_clip_224"):
        from timm.models import get_pretrained_cfg

        config = timm_data.resolve_data_config(pretrained_cfg=get_pretrained_cfg(name).to_dict())
        expected = timm_data.create_transform(**config, is_training=False)(Image.open(tmp_path / "a.jpg"))
        channels, height, width = config.pop("input_size")
        record = Preprocessing(height=height, width=width, channels=channels, **config)
        got = preprocess.normalise(preprocess.read(str(tmp_path / "a.jpg"), record), record)
        assert np.abs(got - expected.numpy()).max() <= 1e-5
