"""Publishers on every door: each message is tried under its id until it is accepted."""

import asyncio
import base64
import hashlib
import itertools
import json
import random

import grpc
import websockets

from journal import Message, now
from wires import OURS, SEED, Failed, channel, unary


class Publisher:
    """Has keys of its own, so that the order within a key is the order of its own calls."""

    keys = 4
    batch = 1

    def __init__(self, world, name):
        self.world, self.journal, self.name = world, world.journal, name
        self.numbers, self.places = itertools.count(), {}

    def draft(self, chance, taken):
        free = [f"{self.name}.{n}" for n in range(self.keys) if f"{self.name}.{n}" not in taken]
        key = chance.choice(free) if free and chance.random() < 0.5 else ""
        number = next(self.numbers)
        id_ = f"{self.name}-{number}"
        text = hashlib.sha256(f"{self.world.seed}/{id_}".encode()).digest() * chance.randint(1, 8)
        place = self.places[key] = self.places.get(key, -1) + 1
        poison = not key and chance.random() < 0.01
        return self.journal.message(Message(id_, key, place, text, poison))

    async def run(self):
        chance = random.Random(f"{self.world.seed}/{self.name}")
        while not self.world.published:
            drafts = []
            for _ in range(self.batch):
                drafts.append(self.draft(chance, [draft.key for draft in drafts]))
            await self.insist(drafts)
            await asyncio.sleep(chance.uniform(0, 2) * self.world.pause * self.batch)
        await self.close()

    async def insist(self, drafts):
        while drafts:
            for draft in drafts:
                draft.tries.append((now(), "tried"))
            try:
                async with asyncio.timeout(8):
                    cursors = await self.publish(drafts)
            except (Failed, grpc.RpcError, websockets.WebSocketException, OSError, TimeoutError) as error:
                why = f"{type(error).__name__} {str(error)[:80]}".replace("\n", " ")
                cursors = [Failed(why)] * len(drafts)
            for draft, cursor in zip(drafts, cursors, strict=True):
                if isinstance(cursor, Failed):
                    draft.tries.append((now(), str(cursor)))
                else:
                    draft.accepted, draft.cursor = now(), cursor
                    draft.tries.append((draft.accepted, f"accepted at {cursor or 'a place not told'}"))
                    self.journal.heard("accepted")
            drafts = [draft for draft in drafts if draft.accepted is None]
            if drafts:
                await asyncio.sleep(0.1)

    async def close(self):
        """Ends what it has open."""


def as_json(draft):
    body = {"id": draft.id, "payload": base64.b64encode(draft.payload).decode()}
    return body | ({"key": draft.key} if draft.key else {})


class Grpc(Publisher):
    """gRPC, one call a message."""

    stub, seed = OURS, False

    def __init__(self, world, name):
        super().__init__(world, name)
        self.channel = channel(world.gateway.grpc)
        self.call = unary(self.channel, "Publish", self.stub.PublishRequest, self.stub.PublishResponse)

    async def publish(self, drafts):
        request = self.stub.PublishRequest(event=self.world.event, id=drafts[0].id, payload=drafts[0].payload)
        if not self.seed:
            request.key = drafts[0].key
        answer = await self.call(request)
        return ["" if self.seed else answer.cursor]

    async def close(self):
        await self.channel.close()


class Seed(Grpc):
    """The seed's client, which knows no keys."""

    stub, seed, keys = SEED, True, 0


class Json(Publisher):
    """REST, a JSON body a message."""

    async def publish(self, drafts):
        answer = await self.world.rest.call("POST", self.path, json=as_json(drafts[0]))
        return [answer["cursor"] or ""]

    @property
    def path(self):
        return f"/v1/events/{self.world.event}/messages"


class Raw(Json):
    """REST, the body is the payload."""

    async def publish(self, drafts):
        headers = {"content-type": "application/octet-stream", "x-message-id": drafts[0].id}
        if drafts[0].key:
            headers["x-message-key"] = drafts[0].key
        answer = await self.world.rest.call("POST", self.path, content=drafts[0].payload, headers=headers)
        return [answer["cursor"] or ""]


class Batch(Json):
    """REST, several a call, each answered for itself."""

    batch = 5

    async def publish(self, drafts):
        body = {"messages": [as_json(draft) for draft in drafts]}
        answer = await self.world.rest.call("POST", f"{self.path}:batch", json=body)
        return [r["accepted"]["cursor"] if "accepted" in r else Failed(json.dumps(r)) for r in answer["results"]]


class Socket(Publisher):
    """WebSocket, an answer a frame."""

    socket = None

    async def publish(self, drafts):
        try:
            if self.socket is None:
                self.socket = await websockets.connect(f"ws://{self.world.gateway.http}/v1/ws", close_timeout=1)
            frame = {"type": "publish", "ref": drafts[0].id, "event": self.world.event} | as_json(drafts[0])
            await self.socket.send(json.dumps(frame))
            while True:
                answer = json.loads(await self.socket.recv())
                if answer.get("ref") == drafts[0].id:
                    break
        except BaseException:
            await self.close()
            raise
        if answer["type"] != "ok":
            raise Failed(json.dumps(answer))
        return [answer.get("cursor", "")]

    async def close(self):
        if self.socket is not None:
            self.socket.transport.abort()
            self.socket = None


KINDS = [Grpc, Seed, Json, Raw, Batch, Socket]
