"""What server and nodes agree on when they run on machines of their own."""
