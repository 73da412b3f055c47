"""One reader for each file layout, and what every reader gives."""
