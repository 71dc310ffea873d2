"""What is predicted: one file per use, found by its name."""
