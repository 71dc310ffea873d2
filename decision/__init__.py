"""From predictions to decisions: join, policy, push."""
