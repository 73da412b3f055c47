"""The shop's own database: items, users and events, on SQLite or PostgreSQL."""
