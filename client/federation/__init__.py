"""What a shop answers in the federation, what its owner accepts, and what leaves the shop."""
