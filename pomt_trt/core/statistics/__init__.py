"""Numbers from samples: locations with intervals, drift, ratios to reference engines, stability of a profile."""
