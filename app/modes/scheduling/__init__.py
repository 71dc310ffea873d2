"""One scheduled run, from its extract to its load, and the lease it is done under."""
