"""One script for each question; results are in results/."""
