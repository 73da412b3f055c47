"""Local recommenders behind one interface, and the surfaces on which they are asked."""
