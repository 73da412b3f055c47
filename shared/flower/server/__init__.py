"""Flower on the coordinator: the SuperLink, its control interface, a run and its replies."""
