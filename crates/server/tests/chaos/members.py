"""The members of the one worker group: each kind on a protocol of its own, all equally unreliable."""

import asyncio
import base64
import itertools
import json
import random

import grpc
import httpx
import httpx_sse
import websockets

from journal import Delivery, Settle, now
from wires import OURS, SEED, STATUSES, SERVICE, Failed, channel, unary

GROUP = "workers"
WINDOW = 24
POOL, BEGINNING = 2, 1
GONE = (Failed, grpc.RpcError, grpc.aio.UsageError, httpx.HTTPError, websockets.WebSocketException, OSError,
        TimeoutError, asyncio.InvalidStateError)
QUERY = f"delivery_mode=worker_pool&worker_group={GROUP}&start_from=beginning&ack=manual&max_in_flight={WINDOW}"

# What becomes of a delivery, and how often.
FATES = {"ack": 62, "nack_delay": 10, "nack": 7, "ignore": 5, "extend": 7, "drop": 1, "drop_ack": 1, "late": 3,
         "twice": 4}


class Member:
    """Takes messages, and does with each what its fate says: that depends on the seed, the message and the try alone."""

    can_delay = True

    def __init__(self, world, name):
        self.world, self.journal, self.name = world, world.journal, name
        self.connections = itertools.count(1)
        self.connection = 0
        self.tasks = set()

    async def run(self):
        chance = random.Random(f"{self.world.seed}/{self.name}")
        while not self.world.over:
            self.connection = next(self.connections)
            why = "ended with OK"
            try:
                await self.session()
            except GONE as error:
                why = f"{type(error).__name__}: {str(error)[:300]}".replace("\n", " ")
            except asyncio.CancelledError:  # a cancelled call says it in this way too
                if asyncio.current_task().cancelling():
                    raise
            finally:
                self.journal.lost(self.name, self.connection, "over" if self.world.over else why)
            await asyncio.sleep(chance.uniform(0.02, 0.3))

    def begin(self):
        self.journal.opened(self.name, self.connection)

    def take(self, **fields):
        """Notes a delivery, and sees to it beside the others."""
        delivery = Delivery(who=self.name, connection=self.connection, at=now(), **fields)
        message = self.journal.messages.get(delivery.id)
        was_done = message is not None and message.first_acked() is not None
        self.journal.got(delivery)
        task = asyncio.create_task(self.see_to(delivery, was_done))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def see_to(self, delivery, was_done):
        chance = random.Random(f"{self.world.seed}/{delivery.id}/{delivery.retries}")
        fate = chance.choices(list(FATES), FATES.values())[0]
        work = chance.uniform(0, 0.03)
        if self.journal.messages[delivery.id].poison:
            fate = "nack"
        elif was_done or self.world.calm:
            fate, work = "insist", 0
        await asyncio.sleep(work)
        await getattr(self, f"do_{fate}")(delivery, chance)

    async def do_insist(self, delivery, _):
        """Acks until it is told what became of it."""
        for n in range(100):
            if await self.settle(delivery, "ack", anywhere=n > 0) is not None:
                return
            await asyncio.sleep(0.2)

    async def do_ack(self, delivery, chance):
        if await self.settle(delivery, "ack") is None and chance.random() < 0.5:
            await self.do_insist(delivery, chance)

    async def do_twice(self, delivery, _):
        await asyncio.gather(self.settle(delivery, "ack"), self.settle(delivery, "ack"))

    async def do_nack(self, delivery, _):
        await self.settle(delivery, "nack")

    async def do_nack_delay(self, delivery, chance):
        await self.settle(delivery, "nack", chance.uniform(0.05, 0.6) if self.can_delay else None)

    async def do_ignore(self, delivery, _):
        """Its lease runs out."""

    async def do_late(self, delivery, chance):
        await asyncio.sleep(self.world.ack_wait * chance.uniform(0.9, 1.2))
        await self.settle(delivery, "ack")

    async def do_extend(self, delivery, _):
        """Works for longer than its lease was."""
        if not self.can_delay:
            return await self.settle(delivery, "ack")
        await asyncio.sleep(self.world.ack_wait * 0.5)
        await self.settle(delivery, "extend", self.world.ack_wait * 1.5)
        await asyncio.sleep(self.world.ack_wait * 0.9)
        await self.settle(delivery, "ack")

    async def do_drop(self, delivery, _):
        """Goes away with what it has."""
        if delivery.connection == self.connection:
            await self.drop()

    async def do_drop_ack(self, delivery, chance):
        """Goes away, and acks all the same: that counts unless somebody else has it by now."""
        await self.do_drop(delivery, chance)
        await self.settle(delivery, "ack", anywhere=True)

    async def settle(self, delivery, verb, seconds=None, anywhere=False):
        """The status; None when there was no answer."""
        settle = Settle(verb, now(), seconds)
        delivery.settles.append(settle)
        try:
            async with asyncio.timeout(8):
                if anywhere or delivery.connection != self.connection:
                    status = await self.world.rest.settle(delivery.ack_id, verb, seconds)
                else:
                    status = await self.say(delivery.ack_id, verb, seconds)
        except GONE:
            return None
        except asyncio.CancelledError:
            if asyncio.current_task().cancelling():
                raise
            return None
        settle.answered, settle.status = now(), status
        self.journal.heard(status)
        return None if status == "unavailable" else status


def entry(stub, ack_id, verb, seconds):
    fields = {"ack_id": ack_id}
    if verb == "nack":
        fields["error"] = "chaos"
    if seconds is not None:
        fields["extend" if verb == "extend" else "retry_after"] = stub.seconds(seconds)
    return stub.AckEntry(**fields)


class Answers:
    """Answers that come by number on a stream; those that can't come any more fail."""

    def __init__(self):
        self.numbers, self.waiting, self.over = itertools.count(1), {}, False

    def expect(self):
        if self.over:
            raise Failed("the stream has ended")
        number = next(self.numbers)
        self.waiting[number] = asyncio.get_running_loop().create_future()
        return number, self.waiting[number]

    def give(self, number, status):
        answer = self.waiting.pop(number, None)
        if answer and not answer.done():
            answer.set_result(status)

    def fail(self):
        self.over = True
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(Failed("the stream ended"))
                answer.exception()  # nobody may be waiting any more
        self.waiting.clear()


class Consume(Member):
    """gRPC, with acks on the stream."""

    async def session(self):
        self.answers, self.writing = Answers(), asyncio.Lock()
        async with channel(self.world.gateway.grpc) as self.channel:
            self.call = self.channel.stream_stream(
                f"{SERVICE}/Consume", request_serializer=OURS.ConsumeRequest.SerializeToString,
                response_deserializer=OURS.ConsumeResponse.FromString)()
            try:
                start = OURS.SubscribeRequest(event=self.world.event, delivery_mode=POOL, worker_group=GROUP,
                                              start_from=BEGINNING, max_in_flight=WINDOW)
                self.begin()
                await self.write(subscribe=start)
                async for frame in self.call:
                    match frame.WhichOneof("frame"):
                        case "message":
                            message = frame.message
                            self.take(id=message.id, retries=message.retry_count, cursor=message.cursor,
                                      key=message.key, payload=message.payload, ack_id=message.ack_id)
                        case "ack_results":
                            results = frame.ack_results
                            self.answers.give(results.sequence, STATUSES[results.results[0].status])
            finally:
                self.answers.fail()

    async def say(self, ack_id, verb, seconds):
        number, answer = self.answers.expect()
        entries = [entry(OURS, ack_id, verb, seconds)]
        await self.write(ack=OURS.ConsumeAck(sequence=number, entries=entries))
        return await answer

    async def write(self, **frame):
        async with self.writing:  # one at a time, says the library
            await self.call.write(OURS.ConsumeRequest(**frame))

    async def drop(self):
        self.journal.lost(self.name, self.connection, "dropped")
        self.call.cancel()


class Seed(Member):
    """The seed's client: Subscribe, and an Ack a message, in the words of its own stub."""

    can_delay = False

    async def session(self):
        async with channel(self.world.gateway.grpc) as self.channel:
            self.call = self.channel.unary_stream(
                f"{SERVICE}/Subscribe", request_serializer=SEED.SubscribeRequest.SerializeToString,
                response_deserializer=SEED.Message.FromString,
            )(SEED.SubscribeRequest(event=self.world.event, delivery_mode=POOL, worker_group=GROUP,
                                    start_from=BEGINNING))
            self.begin()
            async for message in self.call:
                self.take(id=message.id, retries=message.retry_count, cursor="", key="", payload=message.payload,
                          ack_id=message.ack_id)

    async def say(self, ack_id, verb, seconds):
        # Its own stub has no statuses in the answer: they are read for the journal alone.
        ack = unary(self.channel, "Ack", SEED.AckRequest, OURS.AckResponse)
        answer = await ack(SEED.AckRequest(entries=[entry(SEED, ack_id, verb, seconds)]))
        return STATUSES[answer.results[0].status]

    async def drop(self):
        self.journal.lost(self.name, self.connection, "dropped")
        self.call.cancel()


def fields_of(message):
    """Those of a delivery, from a message in JSON."""
    return {"id": message["id"], "retries": message["retry_count"], "cursor": message["cursor"],
            "key": message.get("key", ""), "payload": base64.b64decode(message["payload"]),
            "ack_id": message["ack_id"]}


class Socket(Member):
    """WebSocket, one subscription a socket."""

    path = None

    async def session(self):
        path = self.path or f"/v1/events/{self.world.event}/subscribe?{QUERY}"
        self.answers = Answers()
        async with websockets.connect(f"ws://{self.world.gateway.http}{path}", close_timeout=1) as self.socket:
            self.begin()
            try:
                await self.opened()
                async for text in self.socket:
                    frame = json.loads(text)
                    match frame["type"]:
                        case "message":
                            self.take(**fields_of(frame))
                        case "ok" if "results" in frame:
                            self.answers.give(int(frame["ref"]), frame["results"][0]["status"])
            finally:
                self.answers.fail()

    async def opened(self):
        """Its query said it all."""

    async def say(self, ack_id, verb, seconds):
        number, answer = self.answers.expect()
        frame = {"type": "ack", "ref": str(number), "ack_id": ack_id}
        if verb == "nack":
            frame["error"] = "chaos"
        if seconds is not None and verb == "nack":
            frame["retry_after_ms"] = int(seconds * 1000)
        if verb == "extend":
            frame |= {"type": "extend", "extend_ms": int(seconds * 1000)}
        await self.socket.send(json.dumps(frame))
        return await answer

    async def drop(self):
        self.journal.lost(self.name, self.connection, "dropped")
        self.socket.transport.abort()


class Sockets(Socket):
    """WebSocket, many subscriptions a socket."""

    path = "/v1/ws"

    async def opened(self):
        await self.socket.send(json.dumps({
            "type": "subscribe", "ref": "s", "event": self.world.event, "delivery_mode": "worker_pool",
            "worker_group": GROUP, "start_from": "beginning", "max_in_flight": WINDOW,
        }))


class Sse(Member):
    """SSE, with acks over REST."""

    async def session(self):
        url = f"http://{self.world.gateway.http}/v1/events/{self.world.event}/stream?{QUERY}"
        self.dropped = asyncio.Event()
        async with httpx.AsyncClient(timeout=None) as client:
            async with httpx_sse.aconnect_sse(client, "GET", url) as source:
                source.response.raise_for_status()
                self.begin()
                reading = asyncio.create_task(self.read(source))
                dropping = asyncio.create_task(self.dropped.wait())
                try:
                    await asyncio.wait([reading, dropping], return_when=asyncio.FIRST_COMPLETED)
                    if reading.done():
                        reading.result()
                finally:
                    reading.cancel()
                    dropping.cancel()
                    await asyncio.gather(reading, dropping, return_exceptions=True)

    async def read(self, source):
        async for event in source.aiter_sse():
            if event.event == "message" and event.data:
                self.take(**fields_of(json.loads(event.data)))

    async def say(self, ack_id, verb, seconds):
        return await self.world.rest.settle(ack_id, verb, seconds)

    async def drop(self):
        self.journal.lost(self.name, self.connection, "dropped")
        self.dropped.set()


KINDS = [Consume, Seed, Socket, Sockets, Sse]
