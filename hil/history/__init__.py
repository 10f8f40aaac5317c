"""The history of all runs: the journals that runs write, and the SQLite file to which they are added."""
