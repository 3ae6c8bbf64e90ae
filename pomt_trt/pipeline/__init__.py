"""The stages from a model to a bundle: each takes a session of a work folder and adds files to it.

run_stages orders them. session says what the work folder holds on one device.
"""
