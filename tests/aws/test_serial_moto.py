"""The server in front of moto handles requests one at a time and repeats none."""

import threading
from collections.abc import Iterable
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from serial_moto import SerialApplication


class Counter:
    """An application that counts requests; `most` is how many it handled at the same time."""

    def __init__(self, status: str = "200 OK") -> None:
        self.status = status
        self.done = self.active = self.most = 0

    def __call__(self, _: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        self.active += 1
        self.most = max(self.most, self.active)
        threading.Event().wait(0.01)  # lets another request in, if that is possible
        self.done += 1
        self.active -= 1
        start(self.status, [("Answer", str(self.done))])
        return [str(self.done).encode()]


def send(app: SerialApplication, invocation: str | None, method: str = "POST") -> bytes:
    environ = {"REQUEST_METHOD": method}
    if invocation is not None:
        environ["HTTP_AMZ_SDK_INVOCATION_ID"] = invocation
    return b"".join(app(environ, lambda *_: lambda _: None))


def test_a_repeated_request_is_done_once_and_gets_the_same_response() -> None:
    inner = Counter()
    app = SerialApplication(inner)
    assert [send(app, "a"), send(app, "b"), send(app, "a")] == [b"1", b"2", b"1"]
    assert inner.done == 2


@pytest.mark.parametrize(
    ("invocation", "method", "status"),
    [(None, "POST", "200 OK"), ("a", "GET", "200 OK"), ("a", "POST", "500 Broken")],
)
def test_a_request_without_id_or_that_reads_or_that_failed_is_done_again(
    invocation: str | None, method: str, status: str
) -> None:
    inner = Counter(status)
    app = SerialApplication(inner)
    assert [send(app, invocation, method), send(app, invocation, method)] == [b"1", b"2"]


def test_concurrent_requests_are_handled_one_after_the_other() -> None:
    inner = Counter()
    app = SerialApplication(inner)
    threads = [threading.Thread(target=send, args=[app, str(number)]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (inner.done, inner.most) == (8, 1)
