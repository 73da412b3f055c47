"""A sweep: many budgets, kinds of noise and seeds on the same data, and one page about them."""
