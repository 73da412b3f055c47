"""What signals are computed from: events, items, vectors, popularity and co-purchase."""
