"""Checks that an engine computes the right logits: golden_check after a build, verify beside ONNX Runtime."""
