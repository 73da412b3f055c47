"""Local recommenders: one algorithm a file behind one interface."""
