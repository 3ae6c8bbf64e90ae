"""The flags: what a flag is (flag), those of compile and its stages (table), and those of train (training)."""
