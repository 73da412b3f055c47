"""Status, plans, verification and statements for people."""
