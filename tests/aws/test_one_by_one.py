"""The server in front of moto: what is asked again is answered again, and done once."""

import threading
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from one_by_one import OneByOne


class Counter:
    """An AWS with one thing to create; `most` is how many asked it at the same time."""

    def __init__(self, status: str = "200 OK") -> None:
        self.status = status
        self.done = self.inside = self.most = 0

    def __call__(self, _: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        threading.Event().wait(0.01)  # a chance for the others to come in between
        self.done += 1
        self.inside -= 1
        start(self.status, [("Answer", str(self.done))])
        return [str(self.done).encode()]


def ask(app: OneByOne, number: str | None, method: str = "POST") -> bytes:
    environ = {"REQUEST_METHOD": method}
    if number is not None:
        environ["HTTP_AMZ_SDK_INVOCATION_ID"] = number
    return b"".join(app(environ, lambda *_: lambda _: None))


def test_a_request_that_is_repeated_is_done_once_and_answered_again() -> None:
    behind = Counter()
    app = OneByOne(behind)
    assert [ask(app, "a"), ask(app, "b"), ask(app, "a")] == [b"1", b"2", b"1"]
    assert behind.done == 2


@pytest.mark.parametrize(
    ("number", "method", "status"),
    [(None, "POST", "200 OK"), ("a", "GET", "200 OK"), ("a", "POST", "500 Broken")],
)
def test_what_has_no_number_or_only_reads_or_failed_is_done_again(
    number: str | None, method: str, status: str
) -> None:
    behind = Counter(status)
    app = OneByOne(behind)
    assert [ask(app, number, method), ask(app, number, method)] == [b"1", b"2"]


def test_two_at_once_are_served_one_after_the_other() -> None:
    behind = Counter()
    app = OneByOne(behind)
    askers = [threading.Thread(target=ask, args=[app, str(number)]) for number in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert (behind.done, behind.most) == (8, 1)
