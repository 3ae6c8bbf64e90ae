"""This machine: what it is, its sensors, and what is missing on it."""
