"""The search for schedules that remove tokens in many blocks: block latencies, then the search itself."""
