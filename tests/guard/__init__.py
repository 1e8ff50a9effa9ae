"""What the guard and the client do in a real browser."""
