"""Becomes the stand-in pycuda of the release that POMT_SIMULATED_TENSORRT names; see tests/simulator."""

from pomt_simulated_site import put_in_place

put_in_place(__name__)
