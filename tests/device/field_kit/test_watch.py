"""The sensors of made-up boards at a moment, and between which values they moved."""

import pytest

from pomt_trt.device.field_kit import watch
from pomt_trt.device.field_kit.watch import Watch
from tests.device.boards import copied, tree, written

GPU = "sys/class/devfreq/17000000.gpu/cur_freq"


@pytest.fixture
def root(tmp_path):
    return copied(tmp_path, "agx-orin-jetpack-6.2")


def set_gpu(root, mhz):
    written(root, {GPU: "{:d}".format(mhz * 1000000)})


def test_a_moment_holds_all_that_the_board_tells(root):
    found = watch.moment(root)
    assert found.clocks_mhz["gpu"] == (306.0, 306.0, 1300.5)
    assert found.temperatures_c and found.rails_w and found.unknown and not found.over_current
    assert watch.moment(tree("agx-thor-jetpack-7.2")).over_current.keys() == {"oc1", "oc2", "oc3"}


def test_off_a_jetson_a_moment_is_empty(tmp_path):
    assert not any(watch.moment(str(tmp_path)))


def test_the_lowest_and_highest_readings_are_kept(root, clock):
    watch = Watch(root, clock)
    for mhz in (612, 306, 1300):
        set_gpu(root, mhz)
        watch.look()
        clock.pass_ms(2000)
    assert watch.watched.readings == 3 and watch.watched.clocks_mhz["gpu"] == (306.0, 1300.0)
    assert all(low == high for low, high in watch.watched.temperatures_c.values())


def test_a_look_reads_nothing_before_it_is_due(root, clock):
    watch = Watch(root, clock)
    watch.look()
    set_gpu(root, 1300)
    clock.pass_ms(1900)
    watch.look()
    assert watch.watched.readings == 1 and watch.watched.clocks_mhz["gpu"] == (306.0, 306.0)
