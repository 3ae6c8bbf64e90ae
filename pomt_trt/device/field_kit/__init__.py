"""The field kit on a board: it runs each step in a process, watches the sensors, and writes one archive."""
