"""Whether an engine is right: the golden check after a build, and verify beside ONNX Runtime."""
