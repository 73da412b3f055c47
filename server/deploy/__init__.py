"""The coordinator as a service: folder, certificates, invitations, runs and releases."""
