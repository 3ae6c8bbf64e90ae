"""`python -m scripts.benchmarks NAME ...`: what scripts/bench starts."""

import importlib
import sys

OF_THEIR_OWN = ("search", "schedule", "repeat", "contended", "learned", "gpu_curves", "draw_curves")

if __name__ == "__main__":
    own = sys.argv[1] in OF_THEIR_OWN
    module = importlib.import_module("scripts.benchmarks." + (sys.argv[1] if own else "engines"))
    sys.exit(module.main(sys.argv[2:] if own else sys.argv[1:]))
