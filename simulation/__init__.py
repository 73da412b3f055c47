"""Federated simulations: many shops on one machine, measured."""
