"""`nats-py` beside the gateway, by the table "On the brokers": subjects, bodies and headers on one side, messages on the other."""

import asyncio
import json
import os
import time
from datetime import datetime
from email.header import decode_header
from functools import wraps

import nats
from nats.js.api import StreamConfig

import doors
import judge
from doors import Message, TRACE, read_everywhere, register, same, unique
from judge import EVERY_BYTE, check, scenario

BROKER = os.environ["BUSGATE_BROKER"]

CLOUD_EVENT = {"ce-specversion": "1.0", "ce-type": "com.example.order", "ce-source": "/shop/7", "ce-id": "e-1",
               "ce-subject": "h\u00e9"}


def connected(function):
    """A scenario with a connection and its JetStream."""
    @wraps(function)
    def scenario_():
        async def within():
            client = await nats.connect(BROKER)
            try:
                await function(client, client.jetstream())
            finally:
                await client.close()

        asyncio.run(within())

    return scenario_


async def on_doors(function, *arguments):
    """The doors are asked by blocking calls, while the native client goes on."""
    return await asyncio.to_thread(function, *arguments)


async def sent(jet, subject, body, headers, expected):
    """Publishes as a native client does; the place is the message's id, and its time the stream's."""
    ack = await jet.publish(subject, body, headers=headers)
    return await stored(jet, ack.stream, ack.seq, expected)


async def stored(jet, stream, sequence, expected):
    expected.id = expected.id or str(sequence)
    expected.timestamp = await stream_time(jet, stream, sequence)
    return expected


async def stream_time(jet, stream, sequence):
    """When the stream got a message, in milliseconds, as the server tells it."""
    answer = await jet._nc.request(f"$JS.API.STREAM.MSG.GET.{stream}", json.dumps({"seq": sequence}).encode(), timeout=10)
    # A fraction of nine digits is more than Python reads.
    text = json.loads(answer.data)["message"]["time"].rstrip("Z")
    whole, _, fraction = text.partition(".")
    return int(datetime.fromisoformat(whole + "+00:00").timestamp()) * 1000 + int(fraction[:3].ljust(3, "0"))


async def of_every_sort(jet, subject):
    """Native messages, and how they are to arrive."""
    ours = {"Nats-Msg-Id": "m-7", "busgate-key": "customer-7", "busgate-source": "billing", "content-type": "image/png",
            "shop": "7", "Case-Kept": "h\u00e9 \u2603", "busgate-meta-Content-Type": "its own"} | TRACE
    metadata = {"shop": "7", "Case-Kept": "h\u00e9 \u2603", "Content-Type": "its own"} | TRACE
    return [
        await sent(jet, subject, EVERY_BYTE, None, Message(payload=EVERY_BYTE)),
        await sent(jet, subject, b"", None, Message(payload=b"")),
        await sent(jet, subject, b"named", {"Nats-Msg-Id": "m-1"}, Message(payload=b"named", id="m-1")),
        await sent(jet, subject, b"h", {"shop": "7"} | TRACE, Message(payload=b"h", metadata={"shop": "7"} | TRACE)),
        await sent(jet, subject, b"typed", {"Content-Type": "text/csv"}, Message(payload=b"typed", content_type="text/csv")),
        await sent(jet, subject, EVERY_BYTE, ours, Message(payload=EVERY_BYTE, id="m-7", key="customer-7", source="billing",
                                                           content_type="image/png", metadata=metadata)),
        await sent(jet, subject, b'{"n": 1}', CLOUD_EVENT | {"content-type": "application/json"},
                   Message(payload=b'{"n": 1}', content_type="application/json", metadata=CLOUD_EVENT)),
    ]


async def stream_of(jet, *subjects, name=None):
    """A stream as its owner made it, and a way to tell whether it is still that."""
    name = name or unique("INTEROP").replace(".", "_")
    await jet.add_stream(StreamConfig(name=name, subjects=list(subjects), max_msgs=100_000, duplicate_window=30))
    before = await config(jet, name)

    async def unchanged():
        check("nothing changed on the stream", await config(jet, name), before)

    return name, unchanged


async def config(jet, name):
    answer = await jet._nc.request(f"$JS.API.STREAM.INFO.{name}", b"", timeout=10)
    return json.loads(answer.data)["config"]


@scenario
@connected
async def what_is_published_arrives_on_every_door(_, jet):
    event = unique("interop.nats")
    stream, unchanged = await stream_of(jet, event)
    expected = await of_every_sort(jet, event)
    await on_doors(register, event)
    await on_doors(read_everywhere, event, expected)
    added = await sent(jet, event, b"later", None, Message(payload=b"later"))
    got = await on_doors(doors.history, event, len(expected) + 1)
    same("published while the gateway reads the stream", got[-1], added, event)
    await unchanged()


def as_headers(message):
    """The table's column for NATS; what is absent is left out."""
    headers = {"Nats-Msg-Id": message.id, "busgate-key": message.key, "busgate-source": message.source,
               "content-type": message.content_type}
    for name, value in message.metadata.items():
        ours = name.lower() == "content-type" or name.lower().startswith(("busgate-", "nats-"))
        headers[f"busgate-meta-{name}" if ours else name] = value
    return {name: value for name, value in headers.items() if value is not None}


def headers_of(message):
    """The package reads headers as those of an email: what is not ASCII comes as bytes of an unknown charset."""
    return {name: value if isinstance(value, str) else b"".join(part for part, _ in decode_header(value)).decode()
            for name, value in (message.headers or {}).items()}


async def read_natively(jet, stream, subject, messages, began, first=1):
    """The stream holds what was sent, in that order."""
    for sequence, (name, message) in enumerate(messages, first):
        got = await jet.get_msg(stream, sequence)
        check(f"{name}: subject", got.subject, subject)
        check(f"{name}: body", got.data or b"", message.payload)
        check(f"{name}: headers", headers_of(got), as_headers(message))
        at = await stream_time(jet, stream, sequence)
        check(f"{name}: the stream's time is now", began - 1000 <= at <= time.time() * 1000 + 1000, True)


@scenario
@connected
async def what_the_doors_publish_reads_naturally(client, jet):
    event = await on_doors(register, unique("interop.nats"))
    heard = await client.subscribe(event)
    await client.flush()
    began, messages = int(time.time() * 1000), []
    sorts = doors.every_sort("m") + [Message(payload=b"ce", content_type="text/plain", metadata=CLOUD_EVENT)]
    for message in sorts:
        messages += await on_doors(doors.publish_everywhere, event, message)
    hostile = Message(payload=b"c", source="remote",
                      metadata={"Content-Type": "its own", "busgate-id": "x", "Nats-Msg-Id": "y", "Case-Kept": "z"})
    hostile.id = await on_doors(doors.by_grpc, event, hostile)
    messages.append(("metadata named as headers of ours", hostile))
    stream = await jet.find_stream_name_by_subject(event)
    check("the stream has the event's name", stream, event.replace(".", "_"))
    await read_natively(jet, stream, event, messages, began)
    for name, message in messages:
        live = await heard.next_msg(timeout=10)
        check(f"{name}: heard by a plain subscriber", (live.data, headers_of(live)), (message.payload, as_headers(message)))
    got = await on_doors(doors.history, event, len(messages))
    check("and back again", [message.metadata for message in got], [message.metadata for _, message in messages])


@scenario
@connected
async def a_native_consumer_is_undisturbed(_, jet):
    event = await on_doors(register, unique("interop.nats"))
    stream = await jet.find_stream_name_by_subject(event)
    native = await jet.pull_subscribe(event, durable="native", stream=stream)
    for n in range(4):
        await on_doors(doors.by_rest, event, Message(payload=b"%d" % n))

    async def state():
        info = await native.consumer_info()
        return info.num_ack_pending, info.num_pending, info.num_redelivered, info.delivered.stream_seq, info.ack_floor.stream_seq

    held = await native.fetch(2, timeout=10)
    check("in order", [message.data for message in held], [b"0", b"1"])
    before = await state()
    check("two held, two to come", before[:2], (2, 2))
    for reader in (doors.subscribe_pool, doors.subscribe_named, doors.sse_pool):
        got = await on_doors(reader, event, 4)
        check(f"all of it by {reader.__name__}", [message.payload for message in got], [b"0", b"1", b"2", b"3"])
    check("the native consumer is as it was", await state(), before)
    rest = await native.fetch(2, timeout=10)
    check("the rest is still new to it", [message.data for message in rest], [b"2", b"3"])
    for message in held + rest:
        await message.ack_sync()
    check("and it is done", (await state())[:3], (0, 0, 0))


@scenario
@connected
async def a_mapped_subject_is_the_event(_, jet):
    event, native = os.environ["BUSGATE_MAPPED"].split("=")
    stream, subject = native.split("/")
    root = subject.rsplit(".", 1)[0]
    _, unchanged = await stream_of(jet, f"{root}.>", name=stream)
    await jet.publish(f"{root}.other", b"not of the event")
    expected = []
    for message in await of_every_sort(jet, subject):
        await jet.publish(f"{root}.other", b"in between")
        expected.append(message)
    await on_doors(read_everywhere, event, expected)
    await on_doors(register, event)
    began, last = int(time.time() * 1000), (await jet.stream_info(stream)).state.last_seq
    messages = []
    for message in doors.every_sort("mapped"):
        messages += await on_doors(doors.publish_everywhere, event, message)
    await read_natively(jet, stream, subject, messages, began, first=last + 1)
    await unchanged()


@scenario
@connected
async def a_stream_that_covers_the_subject_is_used(_, jet):
    event = unique("interop.nats")
    stream, unchanged = await stream_of(jet, f"{event}.>")
    await jet.publish(f"{event}.other", b"not of the event")
    await on_doors(register, f"{event}.created")
    began = int(time.time() * 1000)
    messages = await on_doors(doors.publish_everywhere, f"{event}.created", Message(payload=b"x"))
    await read_natively(jet, stream, f"{event}.created", messages, began, first=2)
    await on_doors(read_everywhere, f"{event}.created", [message for _, message in messages])
    await unchanged()


@scenario
@connected
async def a_prefix_stands_in_front(_, jet):
    event, prefix = unique("interop"), os.environ["BUSGATE_PREFIX"]
    await on_doors(register, event)
    began = int(time.time() * 1000)
    messages = await on_doors(doors.publish_everywhere, event, Message(payload=b"x"))
    stream = await jet.find_stream_name_by_subject(prefix + event)
    await read_natively(jet, stream, prefix + event, messages, began)
    await on_doors(read_everywhere, event, [message for _, message in messages])


judge.run()
