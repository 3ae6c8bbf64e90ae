"""The field kit of a board: what it collects, its archive, and the report that a workstation makes of it."""
