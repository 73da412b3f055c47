"""Private local training of a shop: examples, losses, per-user clipping and noise, DP-SGD."""
