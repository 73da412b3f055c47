"""The privacy audit: is the recorded epsilon right, and is the noise really there."""
