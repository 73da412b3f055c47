"""Complete Journey's campaigns and promotions: who was written to and answered, what stood out."""

from __future__ import annotations

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet

from shared.interactions.datasets.complete_journey import (
    FIRST_WEEK,
    build_products,
    package_folder,
    read_parquet,
)


def read_campaigns() -> pd.DataFrame:
    """Returns one row a sending, in order of time.

    Columns are `user_id` as text, `campaign` and `kind` as codes, `time` and `answered` in days
    since 1970; `answered` is NaN where nobody redeemed.

    Redemptions before the campaign's own start are left out: they answer something else.

    Raises:
        DataError: The package is not installed or its files are not readable.
    """
    folder = package_folder()
    campaigns = read_parquet(folder / "campaign_descriptions.parquet")
    sendings = read_parquet(folder / "campaigns.parquet").merge(campaigns, on="campaign_id")
    answers = read_parquet(folder / "coupon_redemptions.parquet").merge(
        campaigns[["campaign_id", "start_date"]], on="campaign_id"
    )
    answers = answers[answers["redemption_date"] >= answers["start_date"]]
    keys = ["household_id", "campaign_id"]
    first = answers.groupby(keys)["redemption_date"].min().reset_index()
    rows = sendings.merge(first, on=keys, how="left")
    kinds = {kind: code for code, kind in enumerate(sorted(campaigns["campaign_type"].unique()))}
    table = pd.DataFrame(
        {
            "user_id": rows["household_id"].astype(str),
            "campaign": rows["campaign_id"].astype("int64"),
            "kind": rows["campaign_type"].map(kinds).astype("int64"),
            "time": _days(rows["start_date"]),
            "answered": _days(rows["redemption_date"]),
        }
    )
    return table.sort_values(["time", "campaign", "user_id"], ignore_index=True)


def read_promotions() -> pd.DataFrame:
    """Returns in how many stores each item stood out in each week.

    Columns are `item`, a code of the catalogue, `time`, the week's first day, and `display` and
    `mailer`, numbers of stores. Products that are one item are added up.

    Raises:
        DataError: The package is not installed or its files are not readable.
    """
    folder = package_folder()
    products = build_products(read_parquet(folder / "products.parquet"))
    # 21 million rows: counted where they are, column by column, before they become a frame.
    table = pyarrow.parquet.read_table(folder / "promotions.parquet")
    shown = {
        name: pc.cast(pc.not_equal(table[f"{name}_location"], "0"), "int64")
        for name in ("display", "mailer")
    }
    counts = (
        pyarrow.table({"product_id": table["product_id"], "week": table["week"], **shown})
        .group_by(["product_id", "week"])
        .aggregate([("display", "sum"), ("mailer", "sum")])
        .to_pandas()
    )
    counts["item"] = products.items(counts["product_id"].to_numpy()).astype("int64")
    counts = counts[counts["item"] >= 0].groupby(["item", "week"], as_index=False).sum()
    return pd.DataFrame(
        {
            "item": counts["item"],
            "time": FIRST_WEEK + 7.0 * (counts["week"] - 1),
            "display": counts["display_sum"].astype("float64"),
            "mailer": counts["mailer_sum"].astype("float64"),
        }
    )


def _days(dates: pd.Series[pd.Timestamp]) -> pd.Series[float]:
    return (dates - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
