"""fp16 and bf16, written into a graph."""
