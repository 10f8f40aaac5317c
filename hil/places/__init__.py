"""Places of a lab: labgrid's coordinator, the search for a free place, and the lease on it."""
