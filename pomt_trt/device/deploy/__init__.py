"""What a board runs: preprocessing, prediction, evaluation and the benchmark of a bundle."""
