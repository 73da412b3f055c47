"""Differential privacy: the guarantee, its accounting, its noise and its ledger."""
