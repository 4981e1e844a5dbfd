"""The real binary in a process of its own, to be drained, killed and started again at the same place."""

import asyncio
import json
import os
import signal

from journal import now

PATIENCE = 40

CONFIG = """
drain_timeout = "1s"
[delivery]
ack_wait = "{ack_wait}ms"
max_deliver = {max_deliver}
backoff = [{backoff}]
"""


class Gateway:
    def __init__(self, folder, journal, **settings):
        self.folder, self.journal = folder, journal
        self.http = self.grpc = "127.0.0.1:0"
        self.process = None
        with open(os.path.join(folder, "busgate.toml"), "w", encoding="utf-8") as file:
            file.write(CONFIG.format(**settings))

    async def start(self):
        """Until it is ready; somebody else may have its port for a moment."""
        for _ in range(PATIENCE * 2):
            if await self._serve():
                self.journal.gateway.append((now(), "ready"))
                return
            await asyncio.sleep(0.5)
        raise RuntimeError("the gateway does not start")

    async def _serve(self):
        self.process = await asyncio.create_subprocess_exec(
            os.environ["BUSGATE_PROGRAM"], "serve", "--config", "busgate.toml", "--log-format", "json",
            "--http", self.http, "--grpc", self.grpc,
            cwd=self.folder, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            async for line in self.process.stderr:
                said = self.heed(line)
                if said.get("grpc"):
                    self.http, self.grpc = said["http"], said["grpc"]
                    self.reader = asyncio.create_task(self._read(self.process.stderr))
                    return True
        await self.process.wait()
        return False

    async def _read(self, log):
        async for line in log:
            self.heed(line)

    def heed(self, line):
        """What it complains of goes on record, but for a port that is not free yet."""
        try:
            said = json.loads(line)
        except ValueError:
            said = {"level": "ERROR"}
        if said["level"] == "ERROR" and b"in use" not in line:
            self.journal.strange.append(f"the gateway says {line.decode().strip()}")
        return said

    async def end(self, kind, moment=None):
        """Kills or drains it, the very moment something is next heard from it, until it is gone."""
        struck = asyncio.Event()

        def strike():
            if not struck.is_set():
                struck.set()
                self.journal.gateway.append((now(), kind))
                self.process.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGTERM)

        if moment:
            self.journal.at(moment, strike)
            await asyncio.wait([asyncio.create_task(struck.wait())], timeout=3)
        strike()
        async with asyncio.timeout(PATIENCE):
            await self.process.wait()
        self.journal.gateway.append((now(), "gone"))

    def abandon(self):
        if self.process and self.process.returncode is None:
            self.process.kill()
