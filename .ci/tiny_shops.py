"""Writes the purchases of three small shops and their catalogue as CSV."""

import csv
import sys
from itertools import product
from pathlib import Path

KINDS, FLAVOURS = ("tea", "coffee", "bread", "cheese"), ("mild", "dark", "sweet", "fresh", "salted")
TITLES = [f"{flavour} {kind}" for kind, flavour in product(KINDS, FLAVOURS)]

folder = Path(sys.argv[1])
with (folder / "items.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("item_id", "title"), *enumerate(TITLES)])
with (folder / "interactions.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(("shop_id", "user_id", "item_id", "position"))
    for user, position in product(range(42), range(8)):
        item = (5 * (user % 4) + position * (1 + user % 3)) % len(TITLES)
        table.writerow((f"shop-{user % 3}", f"user-{user}", item, position))
