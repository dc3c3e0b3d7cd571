"""The Runtime API server: AWS's own runtime runs a function with it, as on Lambda."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from lambda_runtime import Function, Sandbox, runtime_folder

FUNCTION = """
import os, sys, time

calls = 0

def handler(event, context):
    global calls
    calls += 1
    print("called with", event["do"])
    match event["do"]:
        case "report":
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
            time.sleep(3)  # and responds, unless it is killed before
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runtime_folder(tmp_path_factory.mktemp("runtime"))


@pytest.fixture
def function(tmp_path: Path) -> Function:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "example.py").write_text(FUNCTION)
    return Function(
        "example",
        "arn:aws:lambda:eu-west-2:123456789012:function:example",
        "example.handler",
        tmp_path / "task",
        {"TOTES_EXAMPLE": "1"},
        timeout_seconds=1,
    )


@pytest.fixture
def sandbox(function: Function, runtime: Path, tmp_path: Path) -> Iterator[Sandbox]:
    with Sandbox(function, runtime, tmp_path / "sandbox") as made:
        yield made


def test_a_function_gets_its_event_and_its_context(sandbox: Sandbox, function: Function) -> None:
    response = sandbox.invoke({"do": "report"})
    assert response.error is None
    assert 0 < response.value["remaining_ms"] <= 1000
    assert (response.value["arn"], response.value["name"]) == (function.arn, function.name)
    assert response.value["request"]
    assert response.log == ("called with report",)


def test_a_process_handles_several_calls(sandbox: Sandbox) -> None:
    responses = [sandbox.invoke({"do": "report"}) for _ in range(3)]
    assert [response.value["calls"] for response in responses] == [1, 2, 3]
    assert len({response.value["request"] for response in responses}) == 3
    assert len(sandbox.starts) == 1


def test_a_function_sees_its_own_environment_and_files_only(
    sandbox: Sandbox, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("TOTES_OURS", "1")
    seen = sandbox.invoke({"do": "report"}).value
    assert seen["environment"]["TOTES_EXAMPLE"] == "1"
    assert {"TOTES_OURS", "HOME"}.isdisjoint(seen["environment"])
    assert seen["folder"] == seen["path"][0] == str(function.task)
    assert not any("site-packages" in path for path in seen["path"])
    assert [file.name for file in function.task.iterdir()] == ["example.py"]


def test_an_error_is_returned_with_its_type_and_the_process_continues(sandbox: Sandbox) -> None:
    response = sandbox.invoke({"do": "fail"})
    assert response.error is not None
    assert response.error["errorType"] == "ValueError"
    assert response.error["errorMessage"] == "no such thing"
    assert "[ERROR] ValueError: no such thing" in response.log
    assert sandbox.invoke({"do": "report"}).value["calls"] == 2


def test_a_process_that_exits_is_an_error_and_the_next_start_is_cold(sandbox: Sandbox) -> None:
    response = sandbox.invoke({"do": "exit"})
    assert response.error == {"errorType": "Runtime.ExitError", "errorMessage": "exit status 3"}
    assert sandbox.invoke({"do": "report"}).value["calls"] == 1
    assert len(sandbox.starts) == 2


def test_a_process_is_killed_at_its_deadline(sandbox: Sandbox) -> None:
    response = sandbox.invoke({"do": "sleep"})
    assert response.error is not None
    assert response.error["errorType"] == "Sandbox.Timedout"
    assert "timed out after 1.00 seconds" in response.error["errorMessage"]
    assert sandbox.invoke({"do": "report"}).value["calls"] == 1


def test_a_missing_handler_is_reported(function: Function, runtime: Path, tmp_path: Path) -> None:
    missing = Function("f", "arn", "nothing.handler", function.task)
    with Sandbox(missing, runtime, tmp_path / "sandbox") as sandbox:
        response = sandbox.invoke({})
    assert response.error is not None
    assert response.error["errorType"] == "Runtime.ImportModuleError"
    assert "nothing" in response.error["errorMessage"]
