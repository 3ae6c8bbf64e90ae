"""timm models: loading, checkpoints, attention spelled out, and token reduction."""
