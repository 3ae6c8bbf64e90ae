"""Our preprocessing is timm's evaluation transform, pixel for pixel, on real JPEGs of every awkward kind."""

import numpy as np
import pytest
from PIL import Image
from timm import data as timm_data

from pomt_trt.core.errors import InputError
from pomt_trt.core.records import ModelSpec, Preprocessing
from pomt_trt.device.deploy import preprocess
from pomt_trt.host.data import image_batches
from tests import image_files

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LOOK = Preprocessing(32, 32, 3, MEAN, STD, "bicubic", 0.9, "center")
GREY = LOOK._replace(channels=1, mean=(0.5,), std=(0.25,))
LARGE = LOOK._replace(height=224, width=224)
SIZES = [(640, 480), (37, 301), (1, 1), (3, 2), (28, 28), (224, 224), (225, 223), (301, 29)]
TARGETS = [((224, 224), 0.9), ((28, 28), 1.0), ((28, 28), 0.875), ((96, 160), 0.875)]  # (height, width), crop_pct


def picture(width, height, mode="RGB", seed=0):
    """Smooth colours with some noise: resampling differs visibly when it is done differently."""
    bands = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
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


def timm_says(image, look, **how):
    """What timm's evaluation transform makes of an open image."""
    how = {key: getattr(look, key) for key in ("interpolation", "mean", "std", "crop_pct", "crop_mode")} | how
    size = (look.channels, look.height, look.width)
    transform = timm_data.create_transform(input_size=size, is_training=False, **how)
    return transform(image.convert("RGB" if look.channels == 3 else "L")).numpy()


def assert_same(path, look):
    with Image.open(path) as image:
        expected = timm_says(image, look)
    got = preprocess.normalise(preprocess.read(str(path), look), look)
    assert got.shape == expected.shape and got.dtype == np.float32
    assert np.abs(got - expected).max() <= 1e-5


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_equals_timm_for_every_crop_mode_and_interpolation(jpegs, mode, interpolation):
    for (width, height), path in jpegs.items():
        for size, crop_pct in TARGETS:
            if mode == "border" and min(round(side * min(size) / max(width, height)) for side in (width, height)) == 0:
                continue  # nothing would be left of it; timm fails as well
            assert_same(path, Preprocessing(*size, 3, MEAN, STD, interpolation, crop_pct, mode))


@pytest.mark.parametrize("kind", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("look", [LOOK, GREY], ids=["colour", "grey"])
def test_equals_timm_on_jpegs_of_every_colour(tmp_path, kind, look):
    picture(333, 250, kind).save(tmp_path / "a.jpg", quality=85)
    for mode in ("center", "squash", "border"):
        assert_same(tmp_path / "a.jpg", look._replace(height=224, width=224, crop_pct=0.95, crop_mode=mode))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_ignores_exif_orientation_as_timm_does(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(320, 200).save(tmp_path / "turned.jpg", exif=exif)
    assert_same(tmp_path / "turned.jpg", LARGE)


def test_equals_timm_on_a_huge_picture(tmp_path):
    Image.effect_mandelbrot((4800, 3600), (-2, -1.2, 1, 1.2), 40).convert("RGB").save(tmp_path / "huge.jpg")
    assert_same(tmp_path / "huge.jpg", LARGE)


def timm_pixels(image, look):
    """uint8 (H, W, C) of timm's reader and evaluation transform; of deep grey, of its upper 8 bits."""
    if image.mode.startswith("I;16") or image.format == "PPM" and image.mode == "I":
        bits = 12 if np.asarray(image).max() == 4095 else 16
        image = Image.fromarray((np.asarray(image) >> (bits - 8)).astype(np.uint8))
    return timm_says(image, look, normalize=False).transpose(1, 2, 0)


@pytest.mark.parametrize("look", [LOOK, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("mode", Image.MODES)
def test_every_mode_is_decoded_as_timm_decodes_it(mode, look):
    image = image_files.picture(mode)
    assert image.mode == mode
    try:
        expected = timm_pixels(image, look)
    except ValueError:  # Pillow has no conversion, so timm has none
        with pytest.raises(InputError, match="conversion from"):
            preprocess.crop(image, look)
    else:
        found = preprocess.crop(image, look)
        assert np.ptp(found) > 50 and np.array_equal(found, expected)


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds") / "0"
    folder.mkdir()
    return folder, image_files.write_all(folder)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("look", [LOOK, GREY], ids=["colour", "grey"])
def test_every_kind_of_file_is_decoded_alike_by_timm_the_host_and_the_device(kinds, look):
    folder, names = kinds
    names = [name for name in names if name != "lab.tif" or look.channels == 3]  # Pillow makes no grey of it
    on_device = {name: preprocess.read(str(folder / name), look) for name in names}
    for name, found in on_device.items():
        with Image.open(folder / name) as image:
            assert np.array_equal(found, timm_pixels(image, look)), name
        assert np.ptp(found) > 5, name
    model = ModelSpec("some_vit", "vit", "checkpoint", 2, 32, 4, 4, 1, 1, look)
    on_host = image_batches.load(str(folder), model, 100, 0)
    assert len(on_host) == len(names) >= 45
    assert np.array_equal(on_host.stored, np.stack([on_device[name] for name in names]))
