"""A plant in the loop with the partition, and figures of control quality."""
