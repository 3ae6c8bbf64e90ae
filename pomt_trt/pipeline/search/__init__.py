"""Searches that decide what is built and timed: over the counts of the grid, and over schedules of many blocks."""
