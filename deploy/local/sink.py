#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""SMTP sink of `make run` and the tests: keeps each mail as an .eml file.

    sink.py <host> <port> <folder> [<certificate> <key>]

With a certificate it offers STARTTLS.

Files are named by arrival, 000001.eml and on; the envelope is in front of the
mail as X-Envelope-From and X-Envelope-To. A file appears whole or not at all.

The part of a recipient's address before "@" and "+" chooses a failure:
    fail     550 at RCPT: refused for good
    later    451 at RCPT, always
    once     451 at RCPT the first time, then taken
    reject   554 after the message
    drop     the message is kept, the connection ends before the answer; the
             second time it is answered
    slow     taken, but answered after two seconds
"""
import asyncio
import os
import signal
import ssl
import sys

from aiosmtpd.smtp import SMTP

SIZE_MAX = 4 * 1024 * 1024


def mode(address):
    """The failure that an address asks for."""
    return address.partition("@")[0].partition("+")[0].lower()


class Sink:
    """Handler of aiosmtpd; the counter goes on where the folder ends."""

    def __init__(self, folder):
        self.folder = folder
        self.seen = set()
        numbers = [int(name[:-4]) for name in os.listdir(folder)
                   if name.endswith(".eml") and name[:-4].isdigit()]
        self.count = max(numbers, default=0)

    def first_time(self, kind, address):
        """Has this not been asked before?"""
        first = (kind, address) not in self.seen
        self.seen.add((kind, address))
        return first

    def keep(self, envelope):
        """Writes the mail under the next number."""
        self.count += 1
        name = os.path.join(self.folder, f"{self.count:06d}.eml")
        with open(name + ".part", "wb") as file:
            file.write(f"X-Envelope-From: {envelope.mail_from}\r\n".encode())
            for address in envelope.rcpt_tos:
                file.write(f"X-Envelope-To: {address}\r\n".encode())
            file.write(envelope.original_content)
        os.rename(name + ".part", name)

    async def handle_RCPT(self, _server, _session, envelope, address, _opts):
        """Refuses or takes one recipient."""
        kind = mode(address)
        if kind == "fail":
            return "550 5.1.1 no such mailbox"
        if kind == "later":
            return "451 4.3.0 try again later"
        if kind == "once" and self.first_time(kind, address):
            return "451 4.3.0 try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 taken"

    async def handle_DATA(self, server, _session, envelope):
        """Keeps one mail."""
        kinds = {mode(address): address for address in envelope.rcpt_tos}
        if "reject" in kinds:
            return "554 5.6.0 not taken"
        self.keep(envelope)
        if "drop" in kinds and self.first_time("drop", kinds["drop"]):
            server.transport.abort()
            return "421 4.3.0 gone"
        if "slow" in kinds:
            await asyncio.sleep(2)
        return "250 2.0.0 kept"


async def serve(host, port, folder, tls):
    """Runs until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    sink = Sink(folder)
    server = await loop.create_server(
        lambda: SMTP(sink, data_size_limit=SIZE_MAX, hostname="sink.localhost",
                     enable_SMTPUTF8=True, tls_context=tls, loop=loop), host, port)
    await ended.wait()
    server.close()


def main():
    """Reads the arguments."""
    if len(sys.argv) not in (4, 6):
        sys.exit("usage: sink.py <host> <port> <folder> [<certificate> <key>]")
    tls = None
    if len(sys.argv) == 6:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(sys.argv[4], sys.argv[5])
    os.umask(0o077)
    os.makedirs(sys.argv[3], exist_ok=True)
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3], tls))


if __name__ == "__main__":
    main()
