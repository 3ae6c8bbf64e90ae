"""PyTorch eager, timed beside the engines: timm on the workstation, a plain ViT on a board (torch alone)."""
