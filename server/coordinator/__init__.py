"""The coordinator as a service.

Folder, settings, certificates, invited shops, SuperLink and metrics.
"""
