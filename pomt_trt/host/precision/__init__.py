"""fp16 and bf16 in a graph."""
