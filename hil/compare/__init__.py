"""Comparisons of series with earlier ones."""
