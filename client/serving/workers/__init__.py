"""Further processes that answer from the same state: the writer tells them of each change."""
