"""Figures of selections and comparisons, by matplotlib. Python 3.10 or later."""
