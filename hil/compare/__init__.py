"""Comparisons of what was measured with what was measured before."""
