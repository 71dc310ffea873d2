"""Replay: a range of the past through the same decode and score functions as live.

`plan` says what is replayed, `sources` and `files` read it, `book` shares it out, `run` does it, `targets` keep it.
"""
