"""A work folder, drawn: figures from the records alone. Python 3.10 or later, matplotlib."""
