"""What became of runs, kept for years: journals that runs write as they go, and the store that they are taken into."""
