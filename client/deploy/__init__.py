"""One shop's node as a service: its folder, keys, requests, and the releases that it takes in."""
