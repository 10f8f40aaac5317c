"""The emulator: its process, its monitor, snapshots, virtual time and its determinism check."""
