"""The choice: rules, the selection of one experiment, and the comparison of several methods."""
