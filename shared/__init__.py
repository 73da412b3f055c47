"""What client, server and simulation agree on."""
