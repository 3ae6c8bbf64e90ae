"""Which candidate to deploy: the four rules, the selection of one experiment, and the comparison of methods."""
