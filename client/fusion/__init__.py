"""How recommenders' scores become one ranking, and how a shop chooses the weights."""
