"""python -m pomt_trt: the same as the pomt-trt command."""

import sys

from pomt_trt.cli import main

if __name__ == "__main__":
    sys.exit(main())
