"""This machine: its identity, its sensors, and what is missing on it."""
