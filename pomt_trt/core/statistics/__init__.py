"""Numbers from samples: drift, location with an interval, reference ratio, the estimate of a latency, its verdict."""
