"""Which Jetson a tree of files is: five made-up boards, and trees that are cut short."""

import os
import shutil

import pytest

from pomt_trt.device.board import doctor, jetson
from tests.device.boards import copied, tree, written


@pytest.fixture
def orin(tmp_path):
    """A copy of the Orin's tree, to be cut."""
    return copied(tmp_path, "agx-orin-jetpack-6.2")


@pytest.mark.parametrize(
    "board, soc, capability, l4t, jetpack, mode",
    [
        ("tx2-jetpack-4.6.6", "tegra186", "6.2", "32.7.6", "4.6.6", "MAXP_CORE_ARM"),
        ("agx-xavier-jetpack-5.1.2", "tegra194", "7.2", "35.4.1", "5.1.2", "MAXN"),
        ("agx-orin-jetpack-6.2", "tegra234", "8.7", "36.4.3", "6.2", "MAXN"),
        ("orin-nano-jetpack-6.2", "tegra234", "8.7", "36.4.3", "6.2", "15W"),
        ("agx-thor-jetpack-7.2", "tegra264", "11.0", "39.2.0", "7.2", "120W"),
    ],
)
def test_a_board_is_known_by_its_files(board, soc, capability, l4t, jetpack, mode):
    found = jetson.identity(tree(board))
    assert (found.soc, found.compute_capability, found.l4t) == (soc, capability, l4t)
    assert (found.jetpack, found.power_mode) == (jetpack, mode)
    assert found.module.replace("-", " ").startswith(("NVIDIA Jetson", "Jetson AGX")) and "\0" not in found.module


def test_memory_is_in_bytes():
    assert jetson.identity(tree("orin-nano-jetpack-6.2")).memory_bytes == 7802796 * 1024


def test_a_machine_without_any_of_the_files_is_no_jetson(tmp_path):
    assert jetson.identity(str(tmp_path)) is None


def test_a_board_of_another_maker_is_no_jetson(tmp_path):
    files = {"model": "Raspberry Pi 4 Model B Rev 1.4\0", "compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0"}
    root = written(tmp_path, {"proc/device-tree/" + name: text for name, text in files.items()})
    assert jetson.identity(root) is None


def test_a_soc_that_the_table_lacks_leaves_the_capability_open(orin):
    written(orin, {"proc/device-tree/compatible": "nvidia,p9999\0nvidia,tegra999\0"})
    found = jetson.identity(orin)
    assert (found.soc, found.compute_capability, found.l4t) == (None, None, "36.4.3")


@pytest.mark.parametrize(
    "l4t, jetpack",
    [
        ("32.6.1", "4.6"),
        ("32.7.1", "4.6.1"),
        ("32.7.9", "4.6.1 or later"),
        ("35.1.0", "5.0.2"),
        ("35.2.1", "5.1"),
        ("35.6.1", "5.1.5 or later"),
        ("36.3.0", "6.0"),
        ("36.4.0", "6.1"),
        ("36.4.7", "6.2.1 or later"),
        ("38.2.1", "7.0"),
        ("38.4.0", "7.1"),
        ("39.2.1", "7.2.1"),
        ("99.1", None),
    ],
)
def test_the_jetpack_follows_from_the_release(orin, l4t, jetpack):
    major, revision = l4t.split(".", 1)
    line = "# R{} (release), REVISION: {}, GCID: 1, BOARD: generic\n".format(major, revision)
    written(orin, {"etc/nv_tegra_release": line})
    found = jetson.identity(orin)
    assert (found.l4t, found.jetpack) == (l4t, jetpack)


def test_without_any_record_of_the_release_it_is_not_known(orin):
    os.remove(os.path.join(orin, "etc/nv_tegra_release"))
    found = jetson.identity(orin)
    assert (found.l4t, found.jetpack, found.compute_capability) == (None, None, "8.7")


def test_a_mode_without_a_name_is_given_by_number(orin):
    written(orin, {"var/lib/nvpmodel/status": "pmode:0012\n"})
    assert jetson.identity(orin).power_mode == "mode 12"


def test_without_a_state_the_mode_is_the_default_one(orin):
    os.remove(os.path.join(orin, "var/lib/nvpmodel/status"))
    assert jetson.identity(orin).power_mode == "MODE_30W"
    os.remove(os.path.join(orin, "etc/nvpmodel.conf"))
    assert jetson.identity(orin).power_mode is None


def findings(board):
    return {finding.name: finding for finding in doctor.examine(tree(board), pause=lambda seconds: None)}


def test_the_doctor_names_board_release_capability_and_mode():
    value = findings("tx2-jetpack-4.6.6")["jetson"].value
    assert value == (
        "NVIDIA Jetson TX2 Developer Kit, L4T 32.7.6, JetPack 4.6.6, compute capability 6.2, power mode MAXP_CORE_ARM"
    )


def test_the_doctor_warns_of_clocks_that_may_move_and_says_what_locks_them():
    found = findings("agx-orin-jetpack-6.2")["clocks"]
    assert found.state == "warning" and "with_clocks" in found.remedy
    assert found.value.startswith("floating: cpu0 1728 of 2202 MHz, emc 2133 of 3199 MHz, gpu 306 of 1300 MHz")
    assert "cpu4" not in found.value  # as cpu0


def test_locked_clocks_are_fine():
    found = findings("agx-xavier-jetpack-5.1.2")["clocks"]
    assert (found.state, found.remedy) == ("ok", "") and found.value.startswith("locked: ")


def test_the_doctor_says_what_the_sensors_show_and_what_they_do_not():
    value = findings("orin-nano-jetpack-6.2")["sensors"].value
    assert value == "draws 4.9 W, hottest: cpu-thermal 51.0 degrees, emc unknown"


@pytest.mark.parametrize(
    "board, state, text",
    [
        ("agx-thor-jetpack-7.2", "warning", "oc3 1 times"),
        ("tx2-jetpack-4.6.6", "ok", "not counted here"),
    ],
)
def test_the_doctor_tells_over_current_alarms_and_what_helps(board, state, text):
    found = findings(board)["over-current"]
    assert found.state == state and text in found.value
    assert ("power supply" in found.remedy) == (state == "warning")


def test_a_board_whose_sensors_are_hidden_is_not_called_locked(tmp_path):
    for name in ("proc", "etc"):
        shutil.copytree(os.path.join(tree("agx-orin-jetpack-6.2"), name), str(tmp_path / name))
    found = {finding.name: finding for finding in doctor.examine(str(tmp_path), pause=lambda seconds: None)}
    assert found["clocks"].state == "warning" and "not known: none seen" in found["clocks"].value
