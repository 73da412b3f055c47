"""What a shop learns for a use from its own data, and which head it serves."""
