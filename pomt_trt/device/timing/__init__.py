"""Timing on the machine that runs engines.

sampler.py takes turns in rounds; engine_group.py does so with engines in one process, child_turns.py with processes;
worker.py builds and times a group in a child; profiling.py decides which groups are needed.
"""
