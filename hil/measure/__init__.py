"""Measurements: series, figures and bounds on them. Tests import the public names from `hil`."""
