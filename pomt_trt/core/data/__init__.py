"""Images and labels: folders and CSV files, the order of classes, and the one image decoder."""
