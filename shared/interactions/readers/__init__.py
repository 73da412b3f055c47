"""Readers of behaviour data: one module a layout, all giving the same `Tables`."""
