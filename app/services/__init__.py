"""The embedded broker and Redis as child processes: found or fetched, started, guarded, stopped with us."""
