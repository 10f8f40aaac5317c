"""The CAN bus of the partition: frames, the bus model's host end, python-can, rest bus, ISO-TP."""
