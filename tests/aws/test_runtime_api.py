"""The Runtime API server: AWS's own runtime runs a function by it as Lambda would."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from runtime_api import Function, Sandbox, runtime_folder

FUNCTION = """
import os, sys, time

calls = 0

def handler(event, context):
    global calls
    calls += 1
    print("asked for", event["do"])
    match event["do"]:
        case "tell":
            return {
                "calls": calls,
                "remaining_ms": context.get_remaining_time_in_millis(),
                "arn": context.invoked_function_arn,
                "request": context.aws_request_id,
                "name": context.function_name,
                "environment": dict(os.environ),
                "folder": os.getcwd(),
                "path": sys.path,
            }
        case "fail":
            raise ValueError("no such thing")
        case "exit":
            os._exit(3)
        case "sleep":
            time.sleep(3)  # and answers, unless it is stopped before
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runtime_folder(tmp_path_factory.mktemp("runtime"))


@pytest.fixture
def function(tmp_path: Path) -> Function:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "told.py").write_text(FUNCTION)
    return Function(
        "told",
        "arn:aws:lambda:eu-west-2:123456789012:function:told",
        "told.handler",
        tmp_path / "task",
        {"TOTES_EXAMPLE": "1"},
        timeout_seconds=1,
    )


@pytest.fixture
def sandbox(function: Function, runtime: Path, tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(function, runtime, tmp_path / "sandbox") as made:
        yield made


def test_a_function_gets_its_event_and_its_context(sandbox: Sandbox, function: Function) -> None:
    answer = sandbox.invoke({"do": "tell"})
    assert answer.error is None
    assert 0 < answer.value["remaining_ms"] <= 1000
    assert (answer.value["arn"], answer.value["name"]) == (function.arn, function.name)
    assert answer.value["request"]
    assert answer.log == ("asked for tell",)


def test_a_process_stays_warm(sandbox: Sandbox) -> None:
    answers = [sandbox.invoke({"do": "tell"}) for _ in range(3)]
    assert [answer.value["calls"] for answer in answers] == [1, 2, 3]
    assert len({answer.value["request"] for answer in answers}) == 3
    assert len(sandbox.starts) == 1


def test_a_function_sees_its_own_environment_and_files_only(
    sandbox: Sandbox, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("TOTES_OURS", "1")
    seen = sandbox.invoke({"do": "tell"}).value
    assert seen["environment"]["TOTES_EXAMPLE"] == "1"
    assert {"TOTES_OURS", "HOME"}.isdisjoint(seen["environment"])
    assert seen["folder"] == seen["path"][0] == str(function.task)
    assert not any("site-packages" in path for path in seen["path"])
    assert [file.name for file in function.task.iterdir()] == ["told.py"]


def test_an_error_comes_back_with_its_type_and_the_process_lives_on(sandbox: Sandbox) -> None:
    answer = sandbox.invoke({"do": "fail"})
    assert answer.error is not None
    assert answer.error["errorType"] == "ValueError"
    assert answer.error["errorMessage"] == "no such thing"
    assert "[ERROR] ValueError: no such thing" in answer.log
    assert sandbox.invoke({"do": "tell"}).value["calls"] == 2


def test_a_process_that_ends_is_an_error_and_the_next_start_is_cold(sandbox: Sandbox) -> None:
    answer = sandbox.invoke({"do": "exit"})
    assert answer.error == {"errorType": "Runtime.ExitError", "errorMessage": "exit status 3"}
    assert sandbox.invoke({"do": "tell"}).value["calls"] == 1
    assert len(sandbox.starts) == 2


def test_past_its_deadline_a_process_is_killed(sandbox: Sandbox) -> None:
    answer = sandbox.invoke({"do": "sleep"})
    assert answer.error is not None
    assert answer.error["errorType"] == "Sandbox.Timedout"
    assert "timed out after 1.00 seconds" in answer.error["errorMessage"]
    assert sandbox.invoke({"do": "tell"}).value["calls"] == 1


def test_a_handler_that_is_not_there_is_told(
    function: Function, runtime: Path, tmp_path: Path
) -> None:
    missing = Function("f", "arn", "nothing.handler", function.task)
    with Sandbox(missing, runtime, tmp_path / "sandbox") as sandbox:
        answer = sandbox.invoke({})
    assert answer.error is not None
    assert answer.error["errorType"] == "Runtime.ImportModuleError"
    assert "nothing" in answer.error["errorMessage"]
