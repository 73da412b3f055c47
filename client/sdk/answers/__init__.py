"""What a node answers, as typed values: its routes are described by them, clients read them."""
