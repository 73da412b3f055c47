"""What clients of a node know of it: its answers as typed values."""
