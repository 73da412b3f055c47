"""A shop's own record of what its users' privacy was spent on: append-only, signed, checkable."""
