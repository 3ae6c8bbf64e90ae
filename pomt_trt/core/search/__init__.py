"""Which count to measure next: bounds on unmeasured counts, the steps of a latency curve, and the search over both."""
