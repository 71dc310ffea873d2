"""The command line: it sits above every other package (docs/decisions/0001)."""
