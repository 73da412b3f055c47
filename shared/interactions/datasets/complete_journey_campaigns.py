"""Complete Journey's campaigns: whom each was sent to, and who redeemed a coupon of it."""

from __future__ import annotations

import pandas as pd

from shared.interactions.datasets.complete_journey import package_folder, read_parquet


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


def _days(dates: pd.Series[pd.Timestamp]) -> pd.Series[float]:
    return (dates - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)
