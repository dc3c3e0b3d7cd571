"""The dashboard's configuration file: what it may have, and errors in one line."""

import re
from datetime import time
from decimal import Decimal
from pathlib import Path

import pytest

from totes.dashboard.config_file import ConfigFile, load_config
from totes.errors import UsageError

RULE = '[[alert]]\nname = "R"\nmetric = "revenue"\n'
REPORT = '[report]\nschedule = "weekly"\n'


def load(folder: Path, text: str) -> ConfigFile:
    file = folder / "dashboard.toml"
    file.write_text(text)
    return load_config(file)


def test_without_a_file_there_are_no_rules() -> None:
    assert load_config(None) == ConfigFile()


def test_limits_are_exact_decimals(tmp_path: Path) -> None:
    config = load(tmp_path, RULE + "above = 0.1\ncountry = 'France'\nin = 'EUR'")
    [rule] = config.alert
    assert rule.limit == ("above", Decimal("0.1"))
    assert rule.filter == {"country": ["France"]}
    assert rule.reporting == "EUR"


def test_a_report_has_a_time(tmp_path: Path) -> None:
    config = load(tmp_path, REPORT + 'at = "06:30"\nrecipients = ["a@totes.example"]')
    assert config.report is not None
    assert config.report.at == time(6, 30)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[alert]\n", "can't be read: Expected ']]'"),
        ("[alarm]\n", "unknown key alarm: use one of alert, goal, report"),
        ("[alert]\nname = 'R'", "alert: must be a list: write [[alert]]"),
        (RULE, 'alert 1 "R": must have one of above, below'),
        (RULE + "above = 1\nbelow = 2", "must have one of"),
        (RULE + "above = '1'", 'alert 1 "R", above: must be a number'),
        (RULE + "above = true", "must be a number"),
        (RULE + "above = nan", "above: should be a finite number"),
        (RULE + "above = 1\nperiod = 'last-fortnight'", "use one of yesterday, last-7-days,"),
        (RULE + "above = 1\nperoid = 'all'", "unknown key peroid: use one of name, metric,"),
        (RULE + "above = 1\ncountry = 1.5", "country: must be a text or a list of texts"),
        (RULE + "above = 1\nin = 'euro'", "must be a currency's code such as EUR"),
        (RULE.replace("revenue", "profit") + "above = 1", "unknown value 'profit': use one of"),
        (RULE.replace("revenue", "receivable") + "above = 1\nperiod = 'all'", "has no period"),
        (RULE.replace("revenue", "quarantined_rows") + "above = 1\nin = 'EUR'", "has no period"),
        (f"{RULE}above = 1\n" * 2, "alert: two tables [[alert]] have the name 'R'"),
        (RULE.replace('"R"', '"a\\nb"') + "above = 1", "alert 1, name: must be one line"),
        ("[report]\n", "report, schedule: Field required"),
        ("[report]\nschedule = 'hourly'", "report, schedule: should be 'daily', 'weekly' or"),
        (REPORT + "at = '7am'", "report, at: must be a time such as 07:00"),
        (REPORT + "at = '25:00'", "report, at: should be in a valid time format"),
        (REPORT + "recipients = ['a@b.example, c@d.example']", "is not an email address"),
        (REPORT + "recipients = ['a@b.example\\nBcc: c@d.example']", "is not an email address"),
        (REPORT + "recipients = 'a@b.example'", "recipients: must be a list"),
    ],
)
def test_an_invalid_file_is_one_error_that_names_its_place(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        load(tmp_path, text)
    assert message in str(raised.value)
    assert "dashboard.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_examples_of_the_documentation_are_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "running.md").read_text()
    examples = "\n".join(re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    config = load(tmp_path, examples)
    assert len(config.alert) == 4
    assert config.goal
    assert config.report
