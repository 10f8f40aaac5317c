"""What happened in a test on one time axis, and its files for VCD viewers and Perfetto."""
