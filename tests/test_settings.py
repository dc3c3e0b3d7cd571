"""Settings: where they come from, and what is said about one that can't be meant."""

from datetime import timedelta
from pathlib import Path

import pytest

from totes.errors import UsageError
from totes.settings import Dsn, Settings, described, dsn, duration, listed, load_settings

SECRET = "open sesame"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where no totes.toml is, unless the test writes one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_defaults_need_nothing() -> None:
    settings = load_settings()
    assert settings.home == Path(".totes")
    assert settings.source_dsn is None
    assert settings.ingestion == ".totes/lake/ingestion"
    assert settings.processed == ".totes/lake/processed"
    assert settings.exclude_tables == ("_prisma_migrations",)
    assert settings.every == timedelta(seconds=5)


def test_the_environment_wins_over_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "totes.toml").write_text('every = "1m"\nsource_schema = "shop"\n')
    monkeypatch.setenv("TOTES_EVERY", "500ms")
    settings = load_settings()
    assert settings.every == timedelta(milliseconds=500)
    assert settings.source_schema == "shop"
    origins = {one.name: one.origin for one in listed(settings)}
    assert origins["TOTES_EVERY"] == "environment"
    assert origins["TOTES_SOURCE_SCHEMA"] == "totes.toml"
    assert origins["TOTES_HOME"] == "default"


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTES_SOURCE_DSN", "")
    assert load_settings().source_dsn is None


def test_tables_to_leave_out_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTES_EXCLUDE_TABLES", "one, two,,three")
    assert load_settings().exclude_tables == ("one", "two", "three")


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("500ms", 0.5), ("10m", 600), ("1.5h", 5400), ("0s", 0)]
)
def test_durations_are_written_as_people_write_them(text: str, seconds: float) -> None:
    assert duration(text, "--for").total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "5", "-5s", "5 s", "soon", "99999999h", "P1D"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Option --for must be a duration such as"):
        duration(text, "--for")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TOTES_EVERY", "soon", "Setting TOTES_EVERY: must be a duration"),
        ("TOTES_SOURCE_DSN", "nonsense", "Setting TOTES_SOURCE_DSN: is not a libpq"),
        ("TOTES_WAREHUOSE_DSN", "x", "no setting TOTES_WAREHUOSE_DSN: did you mean TOTES_WARE"),
        ("TOTES_XYZ", "x", "no setting TOTES_XYZ: `totes settings` lists them all"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_named(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=said):
        load_settings()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("every = ", "totes.toml can't be read"),
        ('evry = "5s"', "Setting TOTES_EVRY: there is no such setting"),
        ('every = "soon"', "Setting TOTES_EVERY: must be a duration"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(folder: Path, text: str, said: str) -> None:
    (folder / "totes.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        load_settings()


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://me:{SECRET}@host/base".replace(" ", "%20"),
        f"host=host dbname=base user=me password='{SECRET}'",
        f"host=host dbname=base user=me sslpassword='{SECRET}'",
    ],
)
def test_a_dsn_shows_itself_without_its_password(text: str) -> None:
    shown = Dsn(text)
    assert str(shown) == "me@host/base"
    assert SECRET not in repr(shown)
    assert SECRET not in str(shown.parts)
    assert shown == Dsn(text)
    assert len({shown, Dsn(text), Dsn("host=other")}) == 2


@pytest.mark.parametrize("text", [f"host='{SECRET}", f"postgresql://me:{SECRET}@[bad/base"])
def test_a_refused_dsn_is_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="Option --into is not a libpq") as refused:
        dsn(text, "--into")
    assert SECRET not in str(refused.value)


def test_the_list_hides_every_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTES_SOURCE_DSN", f"host=h user=u password='{SECRET}'")
    monkeypatch.setenv("TOTES_INGESTION_URL", f"s3://key:{SECRET}@bucket/prefix")
    monkeypatch.setenv("TOTES_PROCESSED_URL", f"s3://bucket/prefix?token={SECRET}")
    monkeypatch.setenv("TOTES_ALERT_COMMAND", f"curl https://localhost/{SECRET}")
    shown = {one.name: one.value for one in listed(load_settings())}
    assert SECRET not in str(shown)
    assert shown["TOTES_SOURCE_DSN"] == "u@h/"
    assert shown["TOTES_INGESTION_URL"] == "s3://…@bucket/prefix"
    assert shown["TOTES_PROCESSED_URL"] == "s3://bucket/prefix?…"
    assert shown["TOTES_ALERT_COMMAND"] == "curl …"
    assert shown["TOTES_EVERY"] == "5s"
    monkeypatch.setenv("TOTES_ALERT_COMMAND", "notify")
    assert {one.value for one in listed(load_settings())} >= {"notify"}


def test_every_setting_has_a_meaning_and_a_default() -> None:
    for name in Settings.model_fields:
        meaning, default = described(name)
        assert meaning
        assert default
