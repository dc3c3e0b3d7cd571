"""TLS in front of the embedded PostgreSQL, which is built without it."""

import asyncio
import socket
import ssl
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from typing import Self

from certificates import certificate, private_key
from cryptography.hazmat.primitives.asymmetric import ec

from totes.config.dsn import Dsn

NAME = "databases.example"
"""The host name in the server's certificate."""


class TlsProxy:
    """A TLS proxy on a TCP port for a server's Unix socket; a context manager.

    Its certificate is for NAME, signed by the root certificate in the file `root`.
    """

    def __init__(self, server: Dsn, folder: Path) -> None:
        """Write the certificates into `folder`."""
        parts = server.parts
        self._socket = f"{parts['host']}/.s.PGSQL.{parts['port']}"
        signer, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        self.root, chain = folder / "root.pem", folder / "server.pem"
        self.root.write_bytes(certificate("Authority", signer, "Authority", signer))
        chain.write_bytes(certificate(NAME, key, "Authority", signer) + private_key(key))
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(chain)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = str(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = Thread(target=self._loop.run_until_complete, args=[self._serve()])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()
        self._loop.close()

    def proxied(self, dsn: Dsn, **parts: str) -> Dsn:
        """Return the DSN of the same database through this proxy."""
        return dsn.replace(hostaddr="127.0.0.1", port=self.port, gssencmode="disable", **parts)

    async def _serve(self) -> None:
        async with await asyncio.start_server(self._forward, sock=self._listener):
            await self._closing.wait()

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            if await client.readexactly(len(SSL_REQUEST)) == SSL_REQUEST:
                to_client.write(b"S")
                await to_client.start_tls(self._context)
                server, to_server = await asyncio.open_unix_connection(self._socket)
                await asyncio.gather(_copy(client, to_server), _copy(server, to_client))
        to_client.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError), closing(writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()


SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""The first message of libpq on a connection with TLS."""
