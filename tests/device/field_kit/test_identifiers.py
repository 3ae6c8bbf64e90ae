"""What a machine's files and variables tell of its users: all of it is found, and nothing of the board itself."""

import os

import pytest

from pomt_trt.device.field_kit import identifiers
from tests.device.boards import copied

FILES = {
    "etc/hostname": "difference-engine\n",
    "etc/hosts": "127.0.0.1 localhost\n192.168.55.7 analytical.example.org analytical # a friend\n::1 ip6-localhost\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000:Ada Lovelace,Room 7,555-0199:/home/ada:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\ndamaged:x\n",
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "proc/cpuinfo": "processor : 0\nSerial\t\t: 0421219012345\n",
    "proc/device-tree/serial-number": "1421819012345\0",
    "proc/device-tree/chosen/nvidia,ether-mac": "48:B0:2D:0A:1B:2C\0",
    "sys/class/net/wlan0/address": "48:b0:2d:0a:1b:2d\n",
    "sys/class/net/lo/address": "00:00:00:00:00:00\n",
    "sys/class/dmi/id/board_serial": "PF3XQ77B\n",
    "sys/class/dmi/id/chassis_asset_tag": "Default string\n",
    "sys/class/dmi/id/product_uuid": "0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f\n",
    "sys/block/mmcblk0/device/cid": "150100424a54443452079ab12cd34e56\n",
}
VARIABLES = {"USER": "ada", "HOME": "/srv/people/ada", "SSH_CLIENT": "10.1.2.3 50000 22", "LANG": "C"}


@pytest.fixture
def root(tmp_path):
    return copied(tmp_path, "agx-orin-jetpack-6.2", FILES)


def test_people_and_machines_are_found_by_name(root):
    names = set(identifiers.of_this_machine(root, VARIABLES, [], []).names)
    wanted = {"ada", "Ada Lovelace", "Ada", "Lovelace", "Room 7", "555-0199"}
    assert names >= wanted | {"difference-engine", "analytical", "analytical.example.org"}
    assert not names & {"root", "nobody", "localhost", "ip6-localhost", "", "damaged"}


def test_serial_numbers_and_addresses_are_found_with_and_without_separators(root):
    serials = set(identifiers.of_this_machine(root, VARIABLES, [], []).serials)
    wanted = {"0421219012345", "1421819012345", "48:B0:2D:0A:1B:2C", "48B02D0A1B2C", "48b02d0a1b2d", "PF3XQ77B"}
    wanted |= {FILES["etc/machine-id"].strip(), FILES["sys/block/mmcblk0/device/cid"].strip(), "10.1.2.3"}
    assert serials >= wanted | {"0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f"}
    assert not serials & {"Default string", "00:00:00:00:00:00", "", "50000", "22"}


def test_homes_and_the_current_folder_are_found_beside_what_is_given(root):
    known = identifiers.of_this_machine(root, VARIABLES, [("/data/kit", "KIT")], ["8.2.1.8"])
    assert known.paths == (("/data/kit", "KIT"),) and known.versions == ("8.2.1.8",)
    assert set(known.homes) == {"/home/ada", "/srv/people/ada", os.getcwd()}


def test_a_machine_without_any_of_these_files_gives_what_its_variables_tell(tmp_path):
    known = identifiers.of_this_machine(str(tmp_path), {"USER": "ada", "HOME": "/root"}, [], [])
    assert "ada" in known.names and known.serials == () and known.homes == (os.getcwd(),)
