"""How good a model is: classification, segmentation, and whether an engine computes what its graph says."""
