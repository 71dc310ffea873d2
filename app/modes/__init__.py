"""How an agent runs: streaming, request-reply, replay, schedule. Only here (and in decision/worker.py) is Faust imported."""
