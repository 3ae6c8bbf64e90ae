"""Files: atomic records (store), the paths of a work folder, what an experiment holds, bundles, learned parameters."""
