"""The caller's side of request-reply over Kafka: the messages, the asker, its inbox of replies, and who is served."""
