"""Accuracy of classification and segmentation, and the parity of an engine with its graph."""
