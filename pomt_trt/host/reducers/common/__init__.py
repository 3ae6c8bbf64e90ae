"""What the methods share: their contract, ranking and merging of tokens, and files of learned parameters."""
