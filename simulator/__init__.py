"""The event producer and the websocket client."""
