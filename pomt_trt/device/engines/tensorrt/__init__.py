"""TensorRT and TensorRT-RTX. Only this package depends on their releases; backend has the functions of a library."""
