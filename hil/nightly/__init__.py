"""Nights: unattended runs of suites on boards by a plan, each night in a directory of its own."""
