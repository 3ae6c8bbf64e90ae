"""Processes that are watched and ended faster than on a board."""

import pytest

from pomt_trt.device.field_kit import process


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in (("TICK_S", 0.02), ("GRACE_S", 0.5)):
        monkeypatch.setattr(process, name, seconds)
