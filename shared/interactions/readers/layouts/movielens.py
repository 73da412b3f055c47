"""MovieLens: `u.data` (100K), `ratings.dat` (1M, 10M) and `ratings.csv` (20M and later).

Layouts: https://files.grouplens.org/datasets/movielens/
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd

from shared.interactions.readers.packed_files import beside, plain_name
from shared.interactions.readers.parsed_tables import (
    COLUMNS,
    ParsedTables,
    events_tables,
    text_table,
)
from shared.interactions.readers.table_files import read_delimited
from shared.settings.run_settings import DataSettings

RATING_FILES = ("u.data", "ratings.dat", "ratings.csv")
"""Names by which MovieLens data is known."""

GENRES = [
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
    "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical",
    "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
]  # fmt: skip
"""Genre flags of `u.item`, in order."""

_RATINGS = ("user_id", "item_id", "rating", "datetime")
_CSV_COLUMNS = COLUMNS | {"user_id": "userId", "item_id": "movieId", "datetime": "timestamp"}


def read_movielens(ratings: Path, settings: DataSettings) -> ParsedTables:
    """Reads a ratings file and the movies (and users) beside it.

    A rating counts as one event of type `rating` with weight 1, whatever the stars.

    Raises:
        DataError: A file is unreadable or lacks a column.
    """
    drop, name = settings.drops_malformed, plain_name(ratings)
    if name == "u.data":
        raw = read_delimited(ratings, delimiter="\t", names=_RATINGS, quoted=False, drop=drop)
    elif name == "ratings.dat":
        raw = read_delimited(ratings, delimiter="::", names=_RATINGS, quoted=False, drop=drop)
    else:
        raw = read_delimited(ratings, delimiter=None, drop=drop, known=_CSV_COLUMNS.values())
    columns = _CSV_COLUMNS if name == "ratings.csv" else COLUMNS
    tables = events_tables(raw, settings, layout="movielens", columns=columns, event_type="rating")
    sides = {
        "u.data": ("u.item", "u.user"),
        "ratings.dat": ("movies.dat", "users.dat"),
        "ratings.csv": ("movies.csv", "users.csv"),
    }[name]
    movies, users = (beside(ratings, side) for side in sides)
    return replace(
        tables,
        items=_movies(movies) if movies else None,
        users=_users(users, drop=drop) if users else None,
        files=(*tables.files, *(path for path in (movies, users) if path)),
    )


def _movies(path: Path) -> pd.DataFrame:
    if plain_name(path) == "movies.csv":
        raw = read_delimited(path, delimiter=None, known=("movieId", "title", "genres"))
        items = text_table(raw, "item_id", {"item_id": "movieId"})
    elif plain_name(path) == "movies.dat":
        names = ["item_id", "title", "genres"]
        # Of 10M this is UTF-8; 100K and 1M are in Latin-1, as their accents are not valid UTF-8.
        raw = read_delimited(path, delimiter="::", names=names, fallback="latin-1", quoted=False)
        items = text_table(raw, "item_id")
    else:
        names = ["item_id", "title", "release_date", "video_date", "url", *GENRES]
        raw = read_delimited(path, delimiter="|", names=names, fallback="latin-1", quoted=False)
        items = text_table(raw, "item_id")
        flags = items[GENRES].to_numpy() == "1"
        items["genres"] = [
            "|".join(name for name, flag in zip(GENRES, row, strict=True) if flag) for row in flags
        ]
    category = items["genres"].str.replace("|", ", ", regex=False)
    return items[["item_id", "title"]].assign(category=category)


def _users(path: Path, *, drop: bool) -> pd.DataFrame:
    if plain_name(path) == "users.csv":
        raw = read_delimited(path, delimiter=None, drop=drop, known=("userId",))
        return text_table(raw, "user_id", {"user_id": "userId"})
    if plain_name(path) == "users.dat":
        delimiter, names = "::", ["user_id", "gender", "age", "occupation", "zip_code"]
    else:
        delimiter, names = "|", ["user_id", "age", "gender", "occupation", "zip_code"]
    raw = read_delimited(path, delimiter=delimiter, names=names, quoted=False, drop=drop)
    return text_table(raw, "user_id")
