"""Imports that can be repeated: from a source to what differs, and only that is written."""
