"""A web server in another program under a supervisor: ready, asked, killed, and back.

Run it with:  .venv/bin/python examples/command.py
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import koboshi as kb

SERVER = """
import http.server, sys
class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Hello)
print("listening", flush=True)
server.serve_forever()
"""


async def get(port: int) -> str:
    """The body of a plain HTTP answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.rpartition(b"\r\n")[2].decode()


async def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    web = kb.command(sys.executable, "-c", SERVER, str(port), ready="listening", stall_after=60)
    async with kb.Supervisor(web.options(id="web")) as tree:
        ref = tree.ref(kb.Command, "web")
        print(await get(port))  # it is ready when the tree is up
        pid = (await ref.call(kb.Command.statistics)).pid
        os.kill(pid, signal.SIGKILL)
        while (await tree.which_children())[0].restarts == 0:
            await tree.wait_ready()
        print(await get(port), (await ref.call(kb.Command.statistics)).pid != pid)


if __name__ == "__main__":
    kb.run(main)
