"""Who may ask a node: keys with roles, sessions of the page, hosts and origins, the audit log."""
