"""Places of a lab: the coordinator, selectors, reservations, leases, and the acquired place."""
