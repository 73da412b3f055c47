"""The ledger's lines, their chain and the files that hold them."""
