"""TensorRT: the only package that asks which TensorRT this is. backend has the functions of the contract."""
