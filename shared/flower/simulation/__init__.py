"""Flower on one machine: both apps in this process, or on Ray, or many stub nodes."""
