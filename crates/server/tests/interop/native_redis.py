"""`redis-py` beside the gateway, by the table "On the brokers": fields of a stream entry on one side, messages on the other."""

import json
import os
import time

import redis

import doors
import judge
from doors import Message, TRACE, read_everywhere, register, same, unique
from judge import EVERY_BYTE, check, scenario

native = redis.Redis.from_url(os.environ["BUSGATE_BROKER"])


def entry(fields, key, expected):
    """Adds an entry as a native client does; its id is the message's, and its time, where the fields tell no other."""
    place = native.xadd(key, fields).decode()
    expected.id = expected.id or place
    expected.timestamp = expected.timestamp or int(place.split("-")[0])
    return expected


def of_every_sort(key):
    """Native entries, and how they are to arrive."""
    ours = {"payload": EVERY_BYTE, "id": "m-7", "key": "customer-7", "source": "billing", "content_type": "image/png",
            "ts": "1700000000123", "meta.shop": "7", "meta.Case-Kept": "h\u00e9 \u2603", "meta.Content-Type": "its own",
            "meta.traceparent": TRACE["traceparent"], "meta.tracestate": TRACE["tracestate"]}
    return [
        entry({"payload": EVERY_BYTE}, key, Message(payload=EVERY_BYTE)),
        entry({"payload": b""}, key, Message(payload=b"")),
        entry({"data": b"\xff\x00", "kind": "created"}, key, Message(payload=b"\xff\x00", metadata={"kind": "created"})),
        entry({"payload": b"p", "data": b"d"}, key, Message(payload=b"p", metadata={"data": "d"})),
        entry({"payload": b"x", "key": "customer-8"}, key, Message(payload=b"x", key="customer-8")),
        entry({"payload": b"y", "raw": b"\xff\xfe", "kind": "k"}, key, Message(payload=b"y", metadata={"kind": "k"})),
        entry(ours, key, Message(payload=EVERY_BYTE, id="m-7", key="customer-7", source="billing", content_type="image/png",
                                 timestamp=1700000000123,
                                 metadata={"shop": "7", "Case-Kept": "h\u00e9 \u2603", "Content-Type": "its own"} | TRACE)),
    ]


@scenario
def what_is_added_arrives_on_every_door():
    event = unique("interop.redis")
    read_everywhere(event, of_every_sort(event))
    added = entry({"payload": b"later"}, event, Message(payload=b"later"))
    same("added while the gateway knows the stream", doors.history(event, 8)[-1], added, event)


@scenario
def without_a_payload_all_fields_are_it():
    event = unique("interop.redis")
    fields = {"order": "7", "total": "12.50", "who": "h\u00e9"}
    place = native.xadd(event, fields).decode()
    for reader in doors.READERS:
        message = reader(event, 1)[0]
        check(f"{reader.__name__}: payload", json.loads(message.payload), fields)
        check(f"{reader.__name__}: id", message.id, place)


def as_fields(message, ts):
    """The table's column for Redis; what is absent is left out."""
    fields = {"payload": message.payload, "id": message.id, "key": message.key, "source": message.source,
              "content_type": message.content_type, "ts": ts}
    fields |= {f"meta.{name}": value for name, value in message.metadata.items()}
    as_bytes = {name.encode(): value if isinstance(value, bytes) else str(value).encode()
                for name, value in fields.items() if value is not None}
    return as_bytes


def read_natively(key, sent, began):
    """The entries of a stream are what was sent, in that order."""
    entries = native.xrange(key)
    check("as many as were sent", len(entries), len(sent))
    for (place, fields), (name, message) in zip(entries, sent, strict=True):
        ts = int(fields[b"ts"])
        check(f"{name}: its time is now, in milliseconds", began - 1 <= ts <= time.time() * 1000 + 1, True)
        check(f"{name}: the entry is of about that time", abs(int(place.split(b"-")[0]) - ts) < 10_000, True)
        check(f"{name}: fields", fields, as_fields(message, ts))


@scenario
def what_the_doors_publish_reads_naturally():
    event = register(unique("interop.redis"))
    began, sent = int(time.time() * 1000), []
    for message in doors.every_sort("m"):
        sent += doors.publish_everywhere(event, message)
    message = Message(payload=b"c", source="remote", metadata={"Content-Type": "its own", "busgate-id": "x", "Nats-Msg-Id": "y"})
    message.id = doors.by_grpc(event, message)
    sent.append(("metadata named as headers of ours", message))
    read_natively(event, sent, began)
    check("of type stream", native.type(event), b"stream")
    check("and back again", [got.metadata for got in doors.history(event, len(sent))],
          [message.metadata for _, message in sent])


@scenario
def a_native_group_is_undisturbed():
    event = register(unique("interop.redis"))
    native.xgroup_create(event, "native", "0")
    for n in range(4):
        doors.by_rest(event, Message(payload=b"%d" % n))

    def take(count):
        [(_, entries)] = native.xreadgroup("native", "one", {event: ">"}, count=count)
        return [(place, fields[b"payload"]) for place, fields in entries]

    def group():
        info = {info["name"]: info for info in native.xinfo_groups(event)}[b"native"]
        return info["pending"], info["consumers"], info["last-delivered-id"]

    held = take(2)
    check("in order", [payload for _, payload in held], [b"0", b"1"])
    before = group()
    # A group of the gateway's takes everything: some is acked at once, some only after its lease ran out.
    began = time.monotonic()
    start = doors.pb.SubscribeRequest(event=event, delivery_mode=doors.pb.DELIVERY_MODE_WORKER_POOL, worker_group="ours",
                                      start_from=doors.pb.START_POSITION_BEGINNING)
    start.ack_wait.FromMilliseconds(400)
    stream = doors.service.Subscribe(start, timeout=doors.DEADLINE)
    first = [next(stream) for _ in range(4)]
    check("all of it, for the gateway's group", [message.payload for message in first], [b"0", b"1", b"2", b"3"])
    again = sorted(next(stream).payload for _ in range(4))
    check("and again, after the lease", (again, time.monotonic() - began > 0.35), ([b"0", b"1", b"2", b"3"], True))
    check("the native group is as it was", group(), before)
    pending = native.xpending_range(event, "native", "-", "+", 10)
    check("each with its holder", [(p["message_id"], p["consumer"], p["times_delivered"]) for p in pending],
          [(place, b"one", 1) for place, _ in held])
    rest = take(10)
    check("the rest is still new to it", [payload for _, payload in rest], [b"2", b"3"])
    check("its acks are its own", native.xack(event, "native", *[place for place, _ in held + rest]), 4)
    stream.cancel()
    doors.eventually("and not the gateway's", lambda: sorted(m.payload for m in doors.subscribe_pool(event, 4)),
                     [b"0", b"1", b"2", b"3"])


@scenario
def a_mapped_key_is_the_event():
    event, key = os.environ["BUSGATE_MAPPED"].split("=")
    expected = of_every_sort(key)
    read_everywhere(event, expected)
    began, sent = int(time.time() * 1000), []
    native.delete(key)
    register(event)
    for message in doors.every_sort("mapped"):
        sent += doors.publish_everywhere(event, message)
    read_natively(key, sent, began)
    check("nothing under the event's own name", native.exists(event), 0)


@scenario
def a_prefix_stands_in_front():
    event, prefix = unique("interop"), os.environ["BUSGATE_PREFIX"]
    register(event)
    began = int(time.time() * 1000)
    sent = doors.publish_everywhere(event, Message(payload=b"x"))
    read_natively(prefix + event, sent, began)
    check("nothing without it", native.exists(event), 0)
    read_everywhere(event, [message for _, message in sent])


judge.run()
