"""Code for the machine that runs engines: it builds, times and deploys them. Python 3.6, numpy and Pillow, no torch."""
