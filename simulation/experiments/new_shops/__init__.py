"""New shops: what a federation of the others would give each shop that joins later."""
