"""timm models: loading, checkpoints, attention and token reduction."""
