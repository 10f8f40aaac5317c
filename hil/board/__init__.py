"""Boards: labgrid environments, drivers, boot stages, power."""
