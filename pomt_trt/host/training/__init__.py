"""Training on the workstation: what learned methods need, and how the models of this repository came about."""
