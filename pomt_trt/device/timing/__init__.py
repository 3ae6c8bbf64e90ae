"""Latency of real engines: worker processes, interleaved rounds, profiles."""
