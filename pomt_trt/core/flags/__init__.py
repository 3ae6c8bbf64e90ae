"""The flags: what a flag is (flag), and the tables of compile and its stages, of train, and of infer (deployment)."""
