"""Which candidate to build next, from what was measured: steps, bounds of what is not known yet, and the search."""
