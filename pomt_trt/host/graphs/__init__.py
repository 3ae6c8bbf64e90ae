"""ONNX graphs: tracing, graph sets that share one weights file, plugins, checks."""
