"""Replay: a range of the past through the same decode and score functions as live.

`plan` says what is replayed, `sources` and `files` read it (`course` and `merging` where it lies on several topics), `book` shares
it out, `run` does it, `targets` keep it. `verify` and `retrace` compare with what was said live, `reports` with what was decided.
"""
