"""How what a federation earns grows with its users and shops."""
