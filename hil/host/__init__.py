"""This machine: paths, files, processes, outside programs, progress, configuration files."""
