"""The workstation: torch, timm and onnx turn a model into graphs and accuracies. Python 3.10 or later."""
