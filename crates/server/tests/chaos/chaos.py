"""Chaos from outside: five kinds of clients in one worker group, publishers on every door, and a gateway that is drained
and killed under them. Nothing here shares a line with the gateway, whose binary is BUSGATE_PROGRAM.

    BUSGATE_CHAOS_SECONDS  how long it goes on before everybody calms down (default 12)
    BUSGATE_CHAOS_SEED     what the fates of the messages follow from (a number; default 1, or the time in a longer run)

Python, because its gRPC, HTTP, SSE and WebSocket stacks are not ours and not each other's, and one process has one clock.
It ends with one line of figures, or tells the whole history of each message that broke the contract.
"""

import asyncio
import collections
import os
import random
import sys
import tempfile
import time

import members
import publishers
from gateway import Gateway
from journal import Journal, now
from verdict import Verdict
from wires import Failed, Rest

ACK_WAIT = 2.0
BACKOFF = [0.1, 0.3, 1.0]
MAX_DELIVER = 6

# How many of each kind, and how many messages a second all publishers together aim at.
MEMBERS, PUBLISHERS, RATE = 2, 1, 120

# When the gateway is killed or drained: at no moment in particular, or right after it said one of these.
MOMENTS = [None, "acked", "nacked", "accepted", "got"]

# How long everything may take to be done when everybody is calm.
CALM = 60


class World:
    def __init__(self, seed, seconds, folder):
        self.seed, self.seconds, self.event, self.ack_wait = seed, seconds, "chaos.orders", ACK_WAIT
        self.journal = Journal()
        backoff = ", ".join(f'"{seconds * 1000:.0f}ms"' for seconds in BACKOFF)
        self.gateway = Gateway(folder, self.journal, ack_wait=f"{ACK_WAIT * 1000:.0f}", backoff=backoff,
                               max_deliver=MAX_DELIVER)
        self.rest = Rest(self.gateway)
        self.pause = len(publishers.KINDS) * PUBLISHERS / RATE
        self.calm = self.published = self.over = False

    async def run(self):
        await self.gateway.start()
        await self.rest.call("POST", f"/v1/events/{self.event}")
        everyone = [kind(self, f"{kind.__name__.lower()}-{n}") for kind in members.KINDS for n in range(MEMBERS)]
        workers = [asyncio.create_task(member.run()) for member in everyone]
        sources = [asyncio.create_task(kind(self, f"by-{kind.__name__.lower()}-{n}").run())
                   for kind in publishers.KINDS for n in range(PUBLISHERS)]
        watch = asyncio.create_task(self.watch())
        await self.disrupt()
        self.published = True
        await asyncio.gather(*sources)
        self.calm = True
        await self.settle_down(everyone)
        await self.again("kill")
        await asyncio.sleep(2 * ACK_WAIT)
        self.everybody_had_work()
        lag, dead = await self.lag(), await self.dead_letters()
        if lag:
            self.journal.strange.append(f"the group has unsettled messages after its last one was settled: {lag}")
        for task in workers:
            if task.done():
                raise RuntimeError("a member has stopped") from task.exception()
        self.over = True
        for task in [*workers, watch]:
            task.cancel()
        await asyncio.gather(*workers, watch, return_exceptions=True)
        return Verdict(self.journal, dead, ACK_WAIT, BACKOFF, MAX_DELIVER)

    async def disrupt(self):
        """Drains and kills, in turns at first and then as it comes."""
        chance = random.Random(f"{self.seed}/gateway")
        kinds = ["drain", "kill"]
        chance.shuffle(kinds)
        end = now() + self.seconds
        while True:
            await asyncio.sleep(min(chance.uniform(1.5, 4), max(0, end - now())))
            if now() >= end and not kinds:
                return
            await self.again(kinds.pop() if kinds else chance.choice(["drain", "kill"]), chance.choice(MOMENTS))
            if now() >= end and not kinds:
                return

    async def again(self, kind, moment=None):
        await self.gateway.end(kind, moment)
        await self.gateway.start()

    def everybody_had_work(self):
        """A kind that got nothing, or a door that took nothing, would prove nothing."""
        members_ = {d.who.split("-")[0] for m in self.journal.messages.values() for d in m.deliveries}
        doors = {m.id.split("-")[1] for m in self.journal.messages.values() if m.accepted is not None}
        for kinds, seen in ((members.KINDS, members_), (publishers.KINDS, doors)):
            idle = {kind.__name__.lower() for kind in kinds} - seen
            if idle:
                self.journal.strange.append(f"these did nothing: {idle}")

    async def watch(self):
        """How long this process did not look at its sockets."""
        while True:
            began = now()
            await asyncio.sleep(0.02)
            self.journal.lag = max(self.journal.lag, now() - began - 0.02)

    async def settle_down(self, everyone):
        """Until nothing is left to do, for the gateway and for the members."""
        end = now() + CALM
        while True:
            left = await self.lag()
            if not left and not any(member.tasks for member in everyone):
                return
            if now() > end:
                self.journal.strange.append(f"not done {CALM} s after everybody calmed down: {left}")
                return
            await asyncio.sleep(0.2)

    async def lag(self):
        """What the gateway says is left, as text; nothing when there is nothing."""
        try:
            detail = await self.rest.call("GET", f"/v1/events/{self.event}")
        except Failed as error:
            return str(error)
        mine = [c for c in detail["consumers"] if c["name"] == members.GROUP]
        if len(mine) != 1:
            return f"{detail['consumers']}"
        left = {name: int(mine[0][name]) for name in ("waiting", "inFlight", "delayed")}
        return f"{left}" if any(left.values()) else ""

    async def dead_letters(self):
        """The metadata of each dead letter, by the id of its message."""
        dead, after = collections.defaultdict(list), ""
        while True:
            path = f"/v1/events/_dlq.{self.event}/messages?limit=500&{after}"
            try:
                page = await self.rest.call("GET", path)
            except Failed as error:
                if str(error).startswith("404"):
                    return dead
                raise
            for message in page["messages"]:
                story = {key.rsplit("-", 1)[-1]: value for key, value in message["metadata"].items()}
                dead[story.get("id", message["id"])].append(story)
            if not page["messages"]:
                return dead
            after = f"after={page['next']}"


def figures(world, verdict):
    journal = world.journal
    messages = journal.messages.values()
    deliveries = [d for m in messages for d in m.deliveries]
    answers = collections.Counter(s.status or "unanswered" for d in deliveries for s in d.settles)
    ends = collections.Counter(kind for _, kind in journal.gateway)
    by_kind = collections.Counter(d.who.split("-")[0] for d in deliveries)
    return (f"seed {world.seed}: {sum(m.accepted is not None for m in messages)} accepted, {len(deliveries)} delivered "
            f"{dict(by_kind)}, {sum(d.retries > 0 for d in deliveries)} again, {len(verdict.dead)} dead letters, "
            f"{ends['drain']} drains, {ends['kill']} kills, {len(journal.connections)} connections, "
            f"settled {dict(answers)}, longest lag {journal.lag:.3f} s\n{verdict.checks} checks")


async def main():
    seconds = os.environ.get("BUSGATE_CHAOS_SECONDS")
    seed = int(os.environ.get("BUSGATE_CHAOS_SEED") or (time.time() if seconds else 1))
    with tempfile.TemporaryDirectory() as folder:
        world = World(seed, float(seconds or 12), folder)
        try:
            verdict = await world.run()
        finally:
            world.gateway.abandon()
    verdict.judge()
    for violation in verdict.violations[:20]:
        print(f"\nVIOLATION: {violation}", file=sys.stderr)
    print(figures(world, verdict))
    if verdict.violations:
        print(f"{len(verdict.violations)} violations; again by BUSGATE_CHAOS_SEED={seed}", file=sys.stderr)
        sys.exit(1)


asyncio.run(main())
