"""Real image files of every kind that Pillow reads, each from the same small picture."""

import os
import struct
import zlib

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 30
PALETTE_STEP = 91  # from one byte of a palette to the next: neighbours differ much
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types of the PNG specification
DEEP = ("grey16.png", "grey16.tif", "grey16-big.tif", "grey16.pgm", "grey12.tif")  # what timm turns white


def levels(bits, bands=1):
    """Values of all sizes below 2 ** bits, smooth along the rows: (HEIGHT, WIDTH, bands) of unsigned integers."""
    ramp = np.linspace(0, 2**bits - 1, WIDTH)
    rows = np.stack([np.roll(ramp, 7 * row) for row in range(HEIGHT)])
    return np.stack([np.roll(rows, 11 * band, axis=1) for band in range(bands)], -1).astype(np.uint32)


def picture(mode):
    """The picture in a mode of Pillow, by Pillow's own conversion where it is not made of raw values."""
    if mode in ("I", "F"):
        return Image.fromarray((levels(9)[..., 0].astype(float) - 100).astype(np.int32 if mode == "I" else np.float32))
    if mode.startswith("I;16"):
        kind = ">u2" if mode.endswith("B") else "<u2"
        return Image.frombytes(mode, (WIDTH, HEIGHT), levels(16)[..., 0].astype(kind).tobytes())
    if mode == "PA":
        return picture("RGBA").convert("PA")
    if mode in ("La", "RGBa"):
        return picture({"La": "LA", "RGBa": "RGBA"}[mode]).convert(mode)
    if mode in ("RGBX", "CMYK", "RGBA"):
        return Image.frombytes(mode, (WIDTH, HEIGHT), levels(8, 4).astype(np.uint8).tobytes())
    if mode in ("YCbCr", "LAB", "HSV"):
        return Image.frombytes(mode, (WIDTH, HEIGHT), levels(8, 3).astype(np.uint8).tobytes())
    if mode == "LA":
        return Image.frombytes(mode, (WIDTH, HEIGHT), levels(8, 2).astype(np.uint8).tobytes())
    return Image.fromarray(levels(8, 3).astype(np.uint8)).convert(mode)


def write_all(folder):
    """Writes the files; returns their names."""

    def path(name):
        return os.path.join(str(folder), name)

    for bits in (1, 2, 4, 8, 16):
        write_png(path("grey{}.png".format(bits)), bits, GREY, levels(bits))
    for bits in (8, 16):
        write_png(path("rgb{}.png".format(bits)), bits, RGB, levels(bits, 3))
        write_png(path("rgba{}.png".format(bits)), bits, RGBA, levels(bits, 4))
        write_png(path("grey-alpha{}.png".format(bits)), bits, GREY_ALPHA, levels(bits, 2))
    for bits in (1, 2, 4, 8):
        colours = bytes(PALETTE_STEP * number % 256 for number in range(3 * 256))  # of entry 0, then of entry 1, ...
        write_png(path("palette{}.png".format(bits)), bits, PALETTE, levels(bits), PLTE=colours[: 3 * 2**bits])
    write_png(path("palette-clear.png"), 8, PALETTE, levels(8), PLTE=colours, tRNS=b"\x00\x80")
    write_png(path("grey-clear.png"), 8, GREY, levels(8), tRNS=b"\x00\x00")
    write_png(path("rgb-clear.png"), 8, RGB, levels(8, 3), tRNS=b"\x00\x00" * 3)
    for mode in ("L", "RGB", "CMYK"):
        picture(mode).save(path(mode.lower() + ".jpg"))
    write_ycck(path("cmyk.jpg"), path("ycck.jpg"))
    picture("RGB").save(path("progressive.jpg"), progressive=True)
    for mode in ("1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I", "F"):
        picture(mode).save(path(mode.lower() + ".tif"))
    picture("RGB").save(path("rgb-lzw.tif"), compression="tiff_lzw")
    picture("RGB").save(path("rgb-jpeg.tif"), compression="jpeg")
    picture("1").save(path("group4.tif"), compression="group4")
    picture("I;16").save(path("grey16.tif"))
    picture("I;16B").save(path("grey16-big.tif"))
    write_12_bit_tiff(path("grey12.tif"))
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        picture(mode).save(path(mode.lower() + ".bmp"))
    picture("RGB").save(path("rgb.webp"))
    picture("RGBA").save(path("rgba.webp"), lossless=True)
    picture("P").save(path("gif.png"), format="GIF")
    picture("P").save(path("gif-clear.png"), format="GIF", transparency=int(np.asarray(picture("P"))[0, 0]))
    picture("RGB").save(path("rgb.ppm"))
    with open(path("grey16.pgm"), "wb") as file:
        file.write(b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + levels(16).astype(">u2").tobytes())
    return sorted(os.listdir(str(folder)))


def write_png(path, bits, colour_type, values, **chunks):
    """A PNG file without filters (PNG specification, sections 5 and 7), since Pillow writes few of its kinds."""
    height, width, bands = values.shape
    if bits == 16:
        rows = [row.astype(">u2").tobytes() for row in values]
    else:
        pixels = values.astype(np.uint8).reshape(height, width * bands, 1)
        flat = np.unpackbits(pixels, axis=2)[:, :, 8 - bits :].reshape(height, -1)
        rows = [row.tobytes() for row in np.packbits(flat, axis=1)]
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header)] + [(name.encode(), data) for name, data in sorted(chunks.items())]
    parts += [(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in parts:
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def write_ycck(source, target):
    """A CMYK JPEG declared to be YCCK: transform 2 in its Adobe marker."""
    with open(source, "rb") as file:
        data = bytearray(file.read())
    at = data.index(b"Adobe") + len(b"Adobe") + 6
    assert data[at] == 0
    data[at] = 2
    with open(target, "wb") as file:
        file.write(data)


def write_12_bit_tiff(path):
    """Packed 12-bit grey (TIFF 6.0, section 2), which Pillow reads but does not write."""
    values = levels(12)[..., 0].reshape(-1, 2)
    packed = np.stack([values[:, 0] >> 4, (values[:, 0] & 15) << 4 | values[:, 1] >> 8, values[:, 1] & 255], 1)
    data = packed.astype(np.uint8).tobytes()
    tags = [(256, WIDTH), (257, HEIGHT), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, HEIGHT)]
    tags.append((279, len(data)))
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    with open(path, "wb") as file:
        file.write(b"II*\0" + struct.pack("<I", 8 + len(data)) + data)
        file.write(struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0))
