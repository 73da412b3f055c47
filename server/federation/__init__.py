"""A federated run: its plan, state, checkpoints, requests and replies.

The strategy that Flower calls.
"""
