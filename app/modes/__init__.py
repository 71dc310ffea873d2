"""How an agent runs: streaming, request-reply, replay, schedule. Only here (and in decision/worker.py) is Faust imported.

`stream`, `ask`, `schedule`, `dlq` and `replay.run` are what the commands call; `consuming` brings the records, `scoring`
makes predictions of them, `scheduling` is behind `schedule`.
"""
