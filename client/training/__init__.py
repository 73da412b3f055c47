"""Private local training of a shop."""
