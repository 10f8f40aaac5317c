"""The emulator: its process, its monitor, snapshots, and virtual time."""
