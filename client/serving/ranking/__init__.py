"""How an answer is ranked: the request, the signals, their weights and the best items."""
