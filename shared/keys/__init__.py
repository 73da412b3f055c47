"""Keys: signatures, private keys under a passphrase, certificates."""
