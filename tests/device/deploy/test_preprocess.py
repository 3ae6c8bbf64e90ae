"""Preprocessing of pictures that are damaged, hostile or odd; parity with timm is tests/host/test_preprocess_parity."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pomt_trt.core.errors import InputError
from pomt_trt.core.records import Preprocessing
from pomt_trt.device.deploy import preprocess

GREY = Preprocessing(8, 8, 1, (0.5,), (0.25,))
COLOUR = Preprocessing(8, 8, 3, (0.5, 0.25, 0.0), (1.0, 0.5, 0.25))


def saved(path, size=(40, 30), **options):
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (size[1], size[0], 3), np.uint8)).save(
        str(path), **options
    )
    return str(path)


def refused(path):
    with pytest.raises(InputError) as caught:
        preprocess.read(str(path), COLOUR)
    text = str(caught.value)
    assert "\n" not in text and text.startswith(str(path))
    return text


def test_says_that_a_file_is_absent_a_folder_or_no_image(tmp_path):
    assert "no such file. Leave it out" in refused(tmp_path / "absent.jpg")
    assert "a folder, not an image" in refused(tmp_path)
    (tmp_path / "text.jpg").write_bytes(b"not a picture")
    assert "not an image of any known format" in refused(tmp_path / "text.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    assert "not an image" in refused(tmp_path / "empty.jpg")


def test_does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(str(tmp_path / "pipe.jpg"))
    assert "not a regular file" in refused(tmp_path / "pipe.jpg")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_every_cut_and_many_a_flipped_byte_is_a_clear_error_or_a_picture(tmp_path, kind):
    whole = Path(saved(tmp_path / "whole", format=kind)).read_bytes()
    random = np.random.RandomState(1)
    damaged = [whole[: len(whole) * part // 20] for part in range(20)]
    for place in random.randint(0, min(len(whole), 600), 60):
        damaged.append(whole[:place] + bytes([random.randint(256)]) + whole[place + 1 :])
    for data in damaged:
        (tmp_path / "damaged").write_bytes(data)
        try:
            assert preprocess.read(str(tmp_path / "damaged"), COLOUR).shape == (8, 8, 3)
        except InputError as error:
            assert "damaged" in str(error) and "\n" not in str(error)


def test_says_that_a_jpeg_is_truncated(tmp_path):
    path = Path(saved(tmp_path / "a.jpg", quality=90))
    path.write_bytes(path.read_bytes()[:700])
    assert "truncated" in refused(path)


@pytest.mark.parametrize("most_pixels, is_read", [(500, False), (1000, True)])
def test_refuses_a_decompression_bomb_and_reads_a_large_picture_without_a_warning(
    tmp_path, monkeypatch, most_pixels, is_read
):
    """Pillow warns above its limit and refuses twice as many pixels."""
    path = saved(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most_pixels)
    if is_read:
        assert preprocess.read(path, COLOUR).shape == (8, 8, 3)
    else:
        assert "too many pixels to be a picture (1200 pixels)" in refused(path)


def test_never_starts_ghostscript(tmp_path):
    Image.new("RGB", (8, 8)).save(str(tmp_path / "a.jpg"), format="EPS")
    assert "EPS is a program" in refused(tmp_path / "a.jpg")


def test_keeps_the_upper_byte_of_sixteen_bit_grey(tmp_path):
    levels = (np.arange(64, dtype=np.uint16) * 1024).reshape(8, 8)
    Image.fromarray(levels).save(str(tmp_path / "deep.png"))
    assert (preprocess.read(str(tmp_path / "deep.png"), GREY)[..., 0] == levels >> 8).all()
    assert (preprocess.read(str(tmp_path / "deep.png"), COLOUR)[..., 2] == levels >> 8).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F"])
@pytest.mark.parametrize("record", [GREY, COLOUR])
def test_takes_pictures_of_every_mode(mode, record):
    assert preprocess.crop(Image.new(mode, (20, 11)), record).shape == (8, 8, record.channels)


def test_refuses_a_mode_that_has_no_conversion():
    with pytest.raises(InputError, match="conversion from LAB .*save it anew"):
        preprocess.crop(Image.new("LAB", (9, 9)), GREY)


def test_reads_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(str(tmp_path / "a.gif"), save_all=True, append_images=frames[1:])
    assert preprocess.read(str(tmp_path / "a.gif"), COLOUR)[0, 0].tolist() == [255, 0, 0]


def test_pads_what_is_smaller_with_the_mean_in_border_mode():
    record = COLOUR._replace(crop_mode="border")
    pixels = preprocess.crop(Image.new("RGB", (16, 8), "white"), record)
    assert pixels[0, 0].tolist() == [128, 64, 0] and pixels[4, 4].tolist() == [255, 255, 255]


def test_refuses_a_strip_that_resizing_would_blow_up_or_lose():
    strip = Image.new("RGB", (1, 20000))
    with pytest.raises(InputError, match="1 x 20000 pixels would become 224 x 4480000 .*crop it first"):
        preprocess.crop(strip, COLOUR._replace(height=224, width=224))
    with pytest.raises(InputError, match="would become 0 x 8 .*too extreme"):
        preprocess.crop(strip, COLOUR._replace(crop_mode="border"))


def test_names_the_choices_where_the_record_has_another():
    with pytest.raises(InputError, match="unknown interpolation 'magic'.*bicubic"):
        preprocess.crop(Image.new("RGB", (9, 9)), COLOUR._replace(interpolation="magic"))
    with pytest.raises(InputError, match="unknown crop mode 'round'.*squash"):
        preprocess.crop(Image.new("RGB", (9, 9)), COLOUR._replace(crop_mode="round"))


def test_normalises_one_picture_or_many_to_channels_first():
    pixels = np.random.RandomState(0).randint(0, 256, (5, 8, 8, 3), np.uint8)
    expected = (pixels / 255.0 - COLOUR.mean) / COLOUR.std
    many = preprocess.normalise(pixels, COLOUR)
    assert many.dtype == np.float32 and many.flags.c_contiguous and many.shape == (5, 3, 8, 8)
    assert np.abs(many - expected.transpose(0, 3, 1, 2)).max() < 1e-5
    assert (preprocess.normalise(pixels[3], COLOUR) == many[3]).all()
