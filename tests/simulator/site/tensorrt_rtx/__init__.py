"""Becomes the stand-in of the release that POMT_SIMULATED_TENSORRT names, if it is of that; see tests/simulator."""

from pomt_simulated_site import put_in_place

put_in_place(__name__)
