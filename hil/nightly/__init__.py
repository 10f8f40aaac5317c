"""Nights: suites on boards without anyone there, from one plan; what became of them, kept night by night."""
