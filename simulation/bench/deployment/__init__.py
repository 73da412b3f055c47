"""Measurements of a deployed server and its nodes: real processes, TLS and node keys, loopback."""
