"""The edge: HTTP in, websockets and server-sent events out."""
