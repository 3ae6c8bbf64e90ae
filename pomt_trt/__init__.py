"""pomt-trt: compiles vision transformers to engines with the token count that the device rewards most."""

__version__ = "0.1.0"
