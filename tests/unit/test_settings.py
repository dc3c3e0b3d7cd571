"""Settings: where they come from, and what is said about one that can't be meant."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from pwd import getpwnam
from tempfile import TemporaryDirectory

import pytest

from totes.config.settings import (
    _INJECTED,
    Dsn,
    Settings,
    described,
    dsn,
    duration,
    listed,
    load_settings,
    location,
)
from totes.errors import UsageError

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
        ("TOTES_SOURCE_SCHEMAS", "x", "did you mean TOTES_SOURCE_SCHEMA"),
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
        ('evry = "5s"', r"no setting evry in totes\.toml: did you mean every"),
        ('TOTES_EVERY = "5s"', r"no setting TOTES_EVERY in totes\.toml: did you mean every"),
        ('every = "soon"', "Setting TOTES_EVERY: must be a duration"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(folder: Path, text: str, said: str) -> None:
    (folder / "totes.toml").write_text(text)
    with pytest.raises(UsageError, match=said):
        load_settings()


@contextmanager
def no_right_to(path: Path) -> Iterator[None]:
    """A time in which this process has no right to the path; root becomes somebody else for it."""
    mode, user = path.stat().st_mode, os.geteuid()
    path.chmod(0)
    if user == 0:
        os.seteuid(getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(mode)


def test_a_folder_that_may_not_be_entered_has_no_file(folder: Path) -> None:
    (folder / "totes.toml").write_text('every = "1m"')
    with no_right_to(folder):
        assert load_settings().every == timedelta(seconds=5)


def test_a_folder_that_was_removed_has_no_file(folder: Path) -> None:
    folder.rmdir()
    assert load_settings() == Settings()


def test_a_file_that_may_not_be_read_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TemporaryDirectory() as place:  # whose parents anybody may enter
        Path(place).chmod(0o755)
        monkeypatch.chdir(place)
        file = Path(place, "totes.toml")
        file.write_text('every = "1m"')
        with (
            no_right_to(file),
            pytest.raises(UsageError, match=r"totes\.toml can't be read: Permission denied"),
        ):
            load_settings()
        monkeypatch.chdir(folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (Path.mkdir, "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "links to a file that does not exist"),
        (lambda path: path.write_bytes(b'home = "caf\xe9"'), "byte 11 is not UTF-8"),
    ],
    ids=["folder", "pipe", "loop", "dangling", "latin1"],
)
def test_a_settings_file_that_is_not_readable_is_refused(
    folder: Path, make: Callable[[Path], object], said: str
) -> None:
    make(folder / "totes.toml")
    with pytest.raises(UsageError, match=rf"totes\.toml can't be read: .*{said}"):
        load_settings()


def test_a_byte_order_mark_is_no_part_of_the_file(folder: Path) -> None:
    (folder / "totes.toml").write_bytes(b'\xef\xbb\xbfevery = "1m"')
    assert load_settings().every == timedelta(minutes=1)


INJECTED = {
    "TOTES_PORT": "tcp://10.0.0.1:80",
    "TOTES_PORT_80_TCP": "tcp://10.0.0.1:80",
    "TOTES_PORT_80_TCP_ADDR": "10.0.0.1",
    "TOTES_PORT_80_TCP_PORT": "80",
    "TOTES_PORT_80_TCP_PROTO": "tcp",
    "TOTES_SERVICE_HOST": "10.0.0.1",
    "TOTES_SERVICE_PORT": "80",
    "TOTES_SERVICE_PORT_HTTP": "80",
    "TOTES_NAME": "/web/totes",
    "TOTES_ENV_POSTGRES_PASSWORD": SECRET,
}
"""By Kubernetes for a service `totes`, the last two by Docker for a link of that name."""


@pytest.mark.parametrize("service", ["TOTES_", "TOTES_DASHBOARD_", "TOTES_WAREHOUSE_DSN_"])
def test_variables_that_are_injected_for_a_service_are_no_settings(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in INJECTED.items():
        monkeypatch.setenv(name.replace("TOTES_", service, 1), value)
    assert load_settings() == Settings()


def test_a_setting_is_not_taken_for_a_variable_that_is_injected() -> None:
    assert not [
        name
        for name in Settings.model_fields
        for value in ("tcp://10.0.0.1:80", "10.0.0.1", "80", "/a/b")
        if _INJECTED.fullmatch(f"TOTES_{name.upper()}={value}")
    ]


@pytest.mark.parametrize("name", ["TOTES_PORT", "TOTES_DASHBOARD_PORT", "TOTES_SERVICE_HOTS"])
def test_a_variable_that_only_looks_injected_is_still_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "8501")
    with pytest.raises(UsageError, match=f"There is no setting {name}: "):
        load_settings()


@pytest.mark.parametrize("name", ["TOTES_HOME", "TOTES_INGESTION_URL", "TOTES_PROCESSED_URL"])
def test_a_tilde_is_the_home_folder_also_where_no_shell_replaces_it(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv(name, "~/lake")
    settings = load_settings()
    assert str(getattr(settings, name.removeprefix("TOTES_").lower())) == f"{folder}/lake"
    assert location("~/lake", "--into") == f"{folder}/lake"
    monkeypatch.setenv("HOME", "")  # not the root folder
    with pytest.raises(UsageError, match=f"Setting {name}: ~ has no home folder"):
        load_settings()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # as in a container, for a bare number
    with pytest.raises(UsageError, match=f"Setting {name}: ~ has no home folder"):
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
