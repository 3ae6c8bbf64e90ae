"""What is personal leaves a text, and what a board says of itself stays."""

import pytest

from pomt_trt.core.field_kit.personal import Identifiers, Remover
from pomt_trt.core.field_kit.records import Moment

KNOWN = Identifiers(
    names=("ada", "Ada Lovelace", "difference-engine", "nvidia", "x"),
    serials=("1421819012345", "48b02d0a1b2c", "short"),
    paths=(("/data/acme/pomt-trt", "CHECKOUT"), ("/data/acme/pomt-trt/kit", "KIT")),
    homes=("/srv/people/ada",),
    versions=("8.2.1.8",),
)


@pytest.fixture
def remover():
    return Remover(KNOWN)


@pytest.mark.parametrize(
    "text, left",
    [
        ("built by ada on difference-engine", "built by [name] on [name]"),
        ("ADA, Ada Lovelace; ada_files", "[name], [name]; [name]_files"),
        ("write to ada@engine.example.org.", "write to [mail]."),
        ("ssh ada@difference-engine", "ssh [name]@[name]"),
        ("/home/ada/work/kit/digits: no such file", "[home]: no such file"),
        ("'/root/.cache/x'", "'[home]'"),
        ("/media/ada/USB1/x, /mnt/share/y", "[home], [home]"),
        ("/srv/people/ada/secret/x.onnx, /srv/people", "[home], /srv/people"),
        ("~/work and ~ada/work", "[home] and [home]"),
        ("/data/acme/pomt-trt/kit/digits and /data/acme/pomt-trt/jetson", "KIT/digits and CHECKOUT/jetson"),
        ("Serial : 1421819012345", "Serial: [serial]"),
        ("module 1421819012345, eeprom 48B02D0A1B2C", "module [serial], eeprom [serial]"),
        ("Serial Number: PF-3XQ", "Serial: [serial]"),
        ("unknown module 9876543210123", "unknown module [serial]"),
        ("HWaddr 48:b0:2d:0a:1b:2c, eth0-48-B0-2D-0A-1B-2C", "HWaddr [mac], eth0-[mac]"),
        ("UUID=0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f", "UUID=[uuid]"),
        ("from 192.168.55.1 port 22, then 10.0.0.5.", "from [address] port 22, then [address]."),
        ("inet6 fe80::4ab0:2dff:fe0a:1b2c%eth0, [2001:db8::7]:22", "inet6 [address]%eth0, [[address]]:22"),
    ],
)
def test_what_is_personal_is_replaced(remover, text, left):
    assert remover.text(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "TensorRT 8.2.1.8, tensorrt-8.2.1.8-nvidia-jetson-tx2",
        "NVIDIA Jetson TX2 Developer Kit, L4T 32.7.6",
        "gpu 1122 of 1300.5 MHz at 12:34:56, ratio 0.99",
        "nvinfer1::builder, std::abs, x: y, face: z",
        "libcudart.so.11.0, 1.2.3.4.5, 300.1.2.3",
        "/sys/class/devfreq/17000000.gpu and /usr/src/tensorrt/bin/trtexec",
        "serialised engine, serialisation of 12 layers",
        "canada, adapter, short",
        "a ~5 % step",
        "the hash 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ],
)
def test_what_a_board_says_of_itself_stays(remover, text):
    assert remover.text(text) == text


def test_records_keep_their_fields_and_lose_what_is_personal_in_keys_and_values(remover):
    found = remover.everywhere(Moment({"ada": (1.0, 2.0, 3.0)}, {}, {}, {"rail": "of ada"}, {"oc1": 3}))
    assert found == Moment({"[name]": (1.0, 2.0, 3.0)}, {}, {}, {"rail": "of [name]"}, {"oc1": 3})
    assert remover.everywhere([{"a": ("ada", None, True)}]) == [{"a": ("[name]", None, True)}]


def test_a_name_of_one_letter_tells_nobody(remover):
    assert remover.text("x and y") == "x and y"


def test_a_user_who_is_called_as_a_board_is_leaves_the_boards_name(remover):
    assert remover.text("nvidia") == "nvidia"
