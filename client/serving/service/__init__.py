"""The running service of a shop: start, changes, bulk imports, new adapters and background work."""
