"""What server and shops send each other: plan, messages, manifests and invitations."""
