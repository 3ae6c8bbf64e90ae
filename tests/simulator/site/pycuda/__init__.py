"""Becomes the stand-in pycuda that belongs to the stand-in tensorrt beside it."""

import tensorrt  # noqa: F401  puts both into sys.modules
