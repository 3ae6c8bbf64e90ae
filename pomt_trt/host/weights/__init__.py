"""Files of weights: reading them, finding the model's names in them, and holding them against the model."""
