"""The coordinator: checks, aggregates and keeps what shops send."""
