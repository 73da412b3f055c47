"""Uses of a shop's data beside recommending: what each one is, reads and is measured by."""
