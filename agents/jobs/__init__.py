"""The scheduled jobs: one module per job; its parts begin with `_`."""
