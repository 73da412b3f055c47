"""Runs of a deployed coordinator.

Their folders, supervised attempts, invited nodes and signed releases.
"""
