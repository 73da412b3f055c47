"""Flower on a shop's node: the SuperNode, its connection to the server, a process a request."""
