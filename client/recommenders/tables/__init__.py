"""What recommenders look scores up in: neighbours, item vectors, pairs, and scores over items."""
