"""Timing on the machine that runs engines.

turns/ makes members take turns in rounds: engines in one process, or processes. worker.py builds and times a group in a
child; profiling.py decides which groups are needed; settling.py estimates latencies from all groups together.
"""
