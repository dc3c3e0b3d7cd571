"""`totes run` publishes what it has loaded; `totes publish` and `totes status`."""

import json

from iceberg_tables import load_table
from installation import Installation
from processed_lake import read_star_tables

from totes.lakehouse.catalogue import Lakehouse


def test_run_publishes_after_the_load_and_status_shows_it(installation: Installation) -> None:
    published = installation.with_settings(
        iceberg_catalog=f"sqlite:///{installation.folder}/iceberg.db",
        iceberg_url=str(installation.folder / "iceberg"),
    ).add_orders(5)
    result = published.totes("run", "--once", "--json")
    assert result.exit_code == 0, result.output
    steps = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(step["stage"], step["batch"]) for step in steps][-1] == ("publish", 1)
    lakehouse = Lakehouse(
        published.settings["TOTES_ICEBERG_CATALOG"], published.settings["TOTES_ICEBERG_URL"]
    )
    orders = load_table(lakehouse).scan(row_filter="valid_to is null").to_arrow()
    assert orders.num_rows == len(read_star_tables(published.warehouse)["fact_sales_order"]) == 5
    stages = json.loads(published.totes("status", "--json").stdout)["stages"]
    assert [(one["name"], one["batch"], one["pending"]) for one in stages][-1] == ("publish", 1, 0)
    assert "publish" in published.totes("status").stdout
    assert published.totes("publish").stdout == ""


def test_without_a_catalogue_nothing_is_published(installation: Installation) -> None:
    for command in ("", "compact", "expire"):
        result = installation.totes("publish", *command.split())
        assert result.exit_code == 2
        assert "TOTES_ICEBERG_CATALOG is not set" in result.output


def test_files_that_may_be_in_use_are_not_removed(installation: Installation) -> None:
    result = installation.totes("publish", "expire", "--older-than", "23h")
    assert result.exit_code == 2
    assert "must be 1d or more" in result.output


def test_a_catalogue_is_checked_and_shows_no_password(installation: Installation) -> None:
    wrong = installation.with_settings(iceberg_catalog="mysql://u:sesame@h/db").totes("settings")
    assert wrong.exit_code == 2
    assert "TOTES_ICEBERG_CATALOG: must be sqlite:///PATH" in wrong.output
    assert "sesame" not in wrong.output
    dsn = "postgresql://u:sesame@localhost/db"
    shown = installation.with_settings(iceberg_catalog=dsn).totes("settings", "--json").stdout
    values = {one["name"]: one["value"] for one in json.loads(shown)}
    assert values["TOTES_ICEBERG_CATALOG"] == "u@localhost/db"
