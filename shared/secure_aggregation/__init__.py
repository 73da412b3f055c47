"""Secure aggregation: a server learns the sum over at least m shops, and of no shop alone.

The active-adversary variant of Bonawitz et al. 2017 (https://eprint.iacr.org/2017/281), section
6.2: double masks, Shamir shares, keys and a set of survivors that shops sign. Two messages set a
run up (keys, shares), three make each sum (input, confirmation, opening). Nothing here knows of
Flower or of files: messages are values, and what must outlast a process goes through `Decisions`.
What it assumes and gives is in `docs/security.md`, the choices in
`docs/decisions/015-secure-aggregation.md`.
"""
