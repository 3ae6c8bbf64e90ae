"""Where the checkout and the tests' data lie, from wherever a test asks."""

import os

TESTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TESTS)
