"""The demo of Spark ends with the number of equal rows, or with the difference and exit code 1."""

import subprocess
from collections.abc import Callable

import pytest
import spark_demo
from generations import Comparison
from spark_cluster import NoJavaError


def fail(error: Exception) -> Callable[..., Comparison]:
    def replay(*_: object) -> Comparison:
        raise error

    return replay


@pytest.mark.parametrize(
    ("replay", "code", "last_line"),
    [
        (lambda *_: Comparison(103_604, ()), 0, "equal to DuckDB: 103,604 rows"),
        (lambda *_: Comparison(3, ("rows of a: lacks 1",)), 1, "rows of a: lacks 1"),
        (fail(NoJavaError("Spark needs Java 17")), 2, "Spark needs Java 17"),
        (
            fail(subprocess.CalledProcessError(4, ["python", "-m", "totes", "replay"])),
            1,
            "failed: totes replay",
        ),
    ],
)
def test_the_last_line_and_the_exit_code_tell_the_result(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    replay: Callable[..., Comparison],
    code: int,
    last_line: str,
) -> None:
    monkeypatch.setattr(spark_demo, "replay_on_spark", replay)
    monkeypatch.setattr("sys.argv", ["spark_demo.py"])
    assert spark_demo.main() == code
    assert capsys.readouterr().out.splitlines()[-1].endswith(last_line)
