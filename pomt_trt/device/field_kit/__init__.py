"""The field kit on a board: steps in processes of their own, watched sensors, one archive."""
