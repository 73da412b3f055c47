"""One shop's node as a service: keys, ledger, allow-list, rounds and installed adapters."""
