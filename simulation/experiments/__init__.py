"""The three experiments: a single run, a sweep over budgets, and new shops."""
