"""Records to predictions and dead letters, a micro-batch at a time: what every way of running an agent shares."""
