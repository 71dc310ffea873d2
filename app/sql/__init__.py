"""Behind `app.store` and the journals: tables, and what is read from and written to them."""
