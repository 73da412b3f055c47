"""Behaviour data: events, catalogue, time and splits."""
