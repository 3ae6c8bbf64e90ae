"""ONNX graphs: tracing, graph sets that share one weights file, precision, plugins, checks."""
