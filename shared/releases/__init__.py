"""Statistics that shops release with noise, and what can be made of them for free."""
