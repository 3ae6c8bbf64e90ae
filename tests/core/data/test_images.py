"""One decoder for both machines: right values of every kind of file, and what is said of odd ones."""

import logging
import os

import numpy as np
import pytest
from PIL import Image

from pomt_trt.core.data import images
from pomt_trt.core.errors import InputError
from tests import image_files


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch):
    monkeypatch.setattr(images, "_said", set())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("kinds")
    image_files.write_all(made)
    return str(made)


def pixels(folder, name, channels=3):
    return np.asarray(images.in_colours(images.open_image(os.path.join(folder, name)), channels)).astype(int)


def upper_bits(bits, bands=1):
    """The 8 upper bits of the values that were written, all bands of grey alike; fewer bits are spread over 0..255."""
    values = image_files.levels(bits, bands).astype(int)
    values = values >> (bits - 8) if bits >= 8 else values * 255 // (2**bits - 1)
    return np.repeat(values[..., :1], 3, axis=2) if bands < 3 else values[..., :3]


GREY_FILES = [("grey{}.png".format(bits), bits) for bits in (1, 2, 4, 8, 16)]
GREY_FILES += [("grey16.tif", 16), ("grey16-big.tif", 16), ("grey16.pgm", 16), ("grey12.tif", 12)]


@pytest.mark.parametrize("name, bits", GREY_FILES)
def test_grey_of_every_depth_keeps_its_upper_bits(folder, name, bits):
    assert (pixels(folder, name) == upper_bits(bits)).all()
    assert (pixels(folder, name, 1) == upper_bits(bits)[..., 0]).all()


COLOURS = [("rgb8.png", 8, 3), ("rgb-clear.png", 8, 3), ("rgb.ppm", 8, 3), ("rgba8.png", 8, 4)]
COLOURS += [("rgb16.png", 16, 3), ("rgba16.png", 16, 4), ("grey-alpha16.png", 16, 2)]


@pytest.mark.parametrize("name, bits, bands", COLOURS)
def test_colours_keep_their_upper_bits_and_transparency_is_dropped(folder, name, bits, bands):
    assert (pixels(folder, name) == upper_bits(bits, bands)).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_become_their_colours(folder, bits):
    numbers = image_files.levels(bits).astype(int)
    expected = np.concatenate([image_files.PALETTE_STEP * (3 * numbers + band) % 256 for band in range(3)], axis=2)
    assert (pixels(folder, "palette{}.png".format(bits)) == expected).all()


def test_32_bit_values_without_a_range_are_clipped_as_pillow_clips_them(folder):
    values = image_files.levels(9)[..., 0].astype(int) - 100
    assert values.min() < 0 and values.max() > 255
    assert (pixels(folder, "i.tif", 1) == values.clip(0, 255)).all()
    assert (pixels(folder, "f.tif", 1) == values.clip(0, 255)).all()


def test_cmyk_is_the_complement_of_its_inks():
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255]]], np.uint8)
    image = Image.frombytes("CMYK", (4, 1), inks.tobytes())
    colours = np.asarray(images.in_colours(image, 3))[0].tolist()
    assert colours == [[255, 255, 255], [0, 255, 255], [255, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", image_files.DEEP)
def test_deep_grey_is_said_once(folder, name, caplog):
    for _ in range(2):
        pixels(folder, name)
    assert len(caplog.messages) == 1
    bits = 12 if "12" in name else 16
    assert "{} is a {}-bit grey image".format(name, bits) in caplog.text
    assert "its upper 8 bits are used (value >> {})".format(bits - 8) in caplog.text


def turned(path, orientation, name="JPEG"):
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    image_files.picture("RGB").save(str(path), format=name, exif=exif.tobytes())
    return str(path)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_an_orientation_is_ignored_and_said_once(tmp_path, caplog, name):
    upright = images.open_image(turned(tmp_path / "upright", 1, name))
    assert caplog.messages == []
    for orientation in (6, 3):
        image = images.open_image(turned(tmp_path / str(orientation), orientation, name))
        assert image.size == (image_files.WIDTH, image_files.HEIGHT) and image.tobytes() == upright.tobytes()
    assert len(caplog.messages) == 1 and "6 has the EXIF orientation 6, which is ignored" in caplog.text


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_asked_to_an_image_is_turned_as_its_orientation_says(tmp_path, caplog, name, orientation):
    upright = np.asarray(images.open_image(turned(tmp_path / "upright", 1, name)))
    seen = np.asarray(images.open_image(turned(tmp_path / "a", orientation, name), turned=True))
    expected = upright.swapaxes(0, 1) if orientation > 4 else upright  # Source: EXIF 2.3, tag 0x0112
    expected = expected[::-1] if orientation in (3, 4, 7, 8) else expected
    expected = expected[:, ::-1] if orientation in (2, 3, 6, 7) else expected
    assert np.array_equal(seen, expected) and caplog.messages == []


def test_damaged_exif_data_change_nothing(tmp_path, caplog):
    image_files.picture("RGB").save(str(tmp_path / "a.jpg"), exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert images.open_image(str(tmp_path / "a.jpg")).size == (image_files.WIDTH, image_files.HEIGHT)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING and "pomt" in record.name]


def test_nothing_is_said_of_usual_images(folder, caplog):
    for name in ("rgb.jpg", "l.jpg", "rgb16.png", "palette-clear.png", "rgb.webp", "rgb.bmp", "gif.png"):
        pixels(folder, name)
    assert caplog.messages == []


def test_a_mode_without_a_conversion_is_refused():
    with pytest.raises(InputError, match="conversion from La .*save it anew"):
        images.in_colours(Image.new("La", (9, 9)), 3)
