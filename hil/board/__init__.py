"""Boards: power, console, boot stages; the only place that knows labgrid and QMP."""
