"""The stages from a model to a bundle, each a function from a work folder's files to new files.

run_stages holds their order, stages what each one does, adaptive the search in the loop, package the choice and its
bundle.
"""
