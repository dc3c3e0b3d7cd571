"""Settings: their sources, and errors about invalid ones."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from pwd import getpwnam
from tempfile import TemporaryDirectory

import pytest

from totes.config.dsn import Dsn
from totes.config.settings import (
    _SERVICE_VARIABLE,
    Settings,
    describe_setting,
    list_settings,
    load_settings,
)
from totes.config.values import parse_dsn, parse_duration, parse_path_or_url
from totes.errors import UsageError

SECRET = "open sesame"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without totes.toml."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_setting_has_a_default() -> None:
    settings = load_settings()
    assert settings.home == Path(".totes")
    assert settings.source_dsn is None
    assert settings.ingestion == ".totes/lake/ingestion"
    assert settings.processed == ".totes/lake/processed"
    assert settings.exclude_tables == ("_prisma_migrations",)
    assert settings.every == timedelta(seconds=1)


def test_the_environment_overrides_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "totes.toml").write_text('every = "1m"\nsource_schema = "sales"\n')
    monkeypatch.setenv("TOTES_EVERY", "500ms")
    settings = load_settings()
    assert settings.every == timedelta(milliseconds=500)
    assert settings.source_schema == "sales"
    origins = {setting.name: setting.origin for setting in list_settings(settings)}
    assert origins["TOTES_EVERY"] == "environment"
    assert origins["TOTES_SOURCE_SCHEMA"] == "totes.toml"
    assert origins["TOTES_HOME"] == "default"


def test_an_empty_variable_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTES_SOURCE_DSN", "")
    assert load_settings().source_dsn is None


@pytest.mark.parametrize("text", ["50%", "50"])
def test_a_share_is_a_percentage(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTES_SOURCE_SHARE", text)
    assert load_settings().source_share == 50


def test_excluded_tables_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTES_EXCLUDE_TABLES", "one, two,,three")
    assert load_settings().exclude_tables == ("one", "two", "three")


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5), ("500ms", 0.5), ("10m", 600), ("1.5h", 5400), ("0s", 0)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse_duration(text, "--for").total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "5", "-5s", "5 s", "soon", "99999999h", "P1D"])
def test_an_invalid_duration_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="Option --for must be a duration such as"):
        parse_duration(text, "--for")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TOTES_EVERY", "soon", "Setting TOTES_EVERY: must be a duration"),
        ("TOTES_SOURCE_SHARE", "0%", "Setting TOTES_SOURCE_SHARE: Input should be greater"),
        ("TOTES_SOURCE_SHARE", "101", "Setting TOTES_SOURCE_SHARE: Input should be less"),
        ("TOTES_SOURCE_DSN", "nonsense", "Setting TOTES_SOURCE_DSN: is not a libpq"),
        ("TOTES_WAREHUOSE_DSN", "x", "no setting TOTES_WAREHUOSE_DSN: did you mean TOTES_WARE"),
        ("TOTES_SOURCE_SCHEMAS", "x", "did you mean TOTES_SOURCE_SCHEMA"),
        ("TOTES_XYZ", "x", "no setting TOTES_XYZ: `totes settings` lists them all"),
    ],
)
def test_an_invalid_setting_is_named(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message):
        load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("every = ", "totes.toml can't be read"),
        ('evry = "5s"', r"no setting evry in totes\.toml: did you mean every"),
        ('TOTES_EVERY = "5s"', r"no setting TOTES_EVERY in totes\.toml: did you mean every"),
        ('every = "soon"', "Setting TOTES_EVERY: must be a duration"),
    ],
)
def test_an_invalid_file_is_rejected(folder: Path, text: str, message: str) -> None:
    (folder / "totes.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_settings()


@contextmanager
def no_permission_for(path: Path) -> Iterator[None]:
    """Remove all permissions of a path; root becomes another user, whom they apply to."""
    mode, user = path.stat().st_mode, os.geteuid()
    path.chmod(0)
    if user == 0:
        os.seteuid(getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(mode)


def test_a_working_directory_without_permission_has_no_file(folder: Path) -> None:
    (folder / "totes.toml").write_text('every = "1m"')
    with no_permission_for(folder):
        assert load_settings().every == timedelta(seconds=1)


def test_a_deleted_working_directory_has_no_file(folder: Path) -> None:
    folder.rmdir()
    assert load_settings() == Settings()


def test_a_file_without_read_permission_is_rejected(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TemporaryDirectory() as name:  # all users may enter its parents
        Path(name).chmod(0o755)
        monkeypatch.chdir(name)
        file = Path(name, "totes.toml")
        file.write_text('every = "1m"')
        with (
            no_permission_for(file),
            pytest.raises(UsageError, match=r"totes\.toml can't be read: Permission denied"),
        ):
            load_settings()
        monkeypatch.chdir(folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.mkdir, "not a regular file"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "links to a file that does not exist"),
        (lambda path: path.write_bytes(b'home = "caf\xe9"'), "byte 11 is not UTF-8"),
    ],
    ids=["folder", "pipe", "loop", "dangling", "latin1"],
)
def test_an_unreadable_file_is_rejected(
    folder: Path, make: Callable[[Path], object], message: str
) -> None:
    make(folder / "totes.toml")
    with pytest.raises(UsageError, match=rf"totes\.toml can't be read: .*{message}"):
        load_settings()


def test_a_byte_order_mark_is_ignored(folder: Path) -> None:
    (folder / "totes.toml").write_bytes(b'\xef\xbb\xbfevery = "1m"')
    assert load_settings().every == timedelta(minutes=1)


SERVICE_VARIABLES = {
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
"""Variables of Kubernetes for a service `totes`; the last two of Docker for a link `totes`."""


@pytest.mark.parametrize("service", ["TOTES_", "TOTES_DASHBOARD_", "TOTES_WAREHOUSE_DSN_"])
def test_variables_of_a_service_named_totes_are_ignored(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SERVICE_VARIABLES.items():
        monkeypatch.setenv(name.replace("TOTES_", service, 1), value)
    assert load_settings() == Settings()


def test_no_setting_is_ignored_as_a_service_variable() -> None:
    assert not [
        name
        for name in Settings.model_fields
        for value in ("tcp://10.0.0.1:80", "10.0.0.1", "80", "/a/b")
        if _SERVICE_VARIABLE.fullmatch(f"TOTES_{name.upper()}={value}")
    ]


@pytest.mark.parametrize("name", ["TOTES_PORT", "TOTES_DASHBOARD_PORT", "TOTES_SERVICE_HOTS"])
def test_a_variable_that_is_similar_to_a_service_variable_is_rejected(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "8501")
    with pytest.raises(UsageError, match=f"There is no setting {name}: "):
        load_settings()


@pytest.mark.parametrize("name", ["TOTES_HOME", "TOTES_INGESTION_URL", "TOTES_PROCESSED_URL"])
def test_a_tilde_is_replaced_by_the_home_folder(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv(name, "~/lake")
    settings = load_settings()
    assert str(getattr(settings, name.removeprefix("TOTES_").lower())) == f"{folder}/lake"
    assert parse_path_or_url("~/lake", "--into") == f"{folder}/lake"
    monkeypatch.setenv("HOME", "")  # not the root folder
    with pytest.raises(UsageError, match=f"Setting {name}: ~ has no home folder"):
        load_settings()
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(
        "pwd.getpwuid", {}.__getitem__
    )  # as in a container, for a user without an entry
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
def test_a_dsn_is_printed_without_its_password(text: str) -> None:
    dsn = Dsn(text)
    assert str(dsn) == "me@host/base"
    assert SECRET not in repr(dsn)
    assert SECRET not in str(dsn.parts)
    assert dsn == Dsn(text)
    assert len({dsn, Dsn(text), Dsn("host=other")}) == 2


@pytest.mark.parametrize("text", [f"host='{SECRET}", f"postgresql://me:{SECRET}@[bad/base"])
def test_the_message_about_an_invalid_dsn_does_not_repeat_it(text: str) -> None:
    with pytest.raises(UsageError, match="Option --into is not a libpq") as error:
        parse_dsn(text, "--into")
    assert SECRET not in str(error.value)


def test_the_list_of_settings_hides_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOTES_SOURCE_DSN", f"host=h user=u password='{SECRET}'")
    monkeypatch.setenv("TOTES_INGESTION_URL", f"s3://key:{SECRET}@bucket/prefix")
    monkeypatch.setenv("TOTES_PROCESSED_URL", f"s3://bucket/prefix?token={SECRET}")
    monkeypatch.setenv("TOTES_ALERT_COMMAND", f"curl https://localhost/{SECRET}")
    values = {setting.name: setting.value for setting in list_settings(load_settings())}
    assert SECRET not in str(values)
    assert values["TOTES_SOURCE_DSN"] == "u@h/"
    assert values["TOTES_INGESTION_URL"] == "s3://…@bucket/prefix"
    assert values["TOTES_PROCESSED_URL"] == "s3://bucket/prefix?…"
    assert values["TOTES_ALERT_COMMAND"] == "curl …"
    assert values["TOTES_EVERY"] == "1s"
    assert values["TOTES_SOURCE_SHARE"] == "25%"
    monkeypatch.setenv("TOTES_ALERT_COMMAND", "notify")
    assert {setting.value for setting in list_settings(load_settings())} >= {"notify"}


def test_every_setting_has_a_description() -> None:
    for name in Settings.model_fields:
        meaning, default = describe_setting(name)
        assert meaning
        assert default
