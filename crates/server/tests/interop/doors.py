"""Every door of the gateway behind one face, so that a scenario asks the same of all of them.

READERS and PUBLISHERS hold a function a door; a new door is judged by every scenario once it stands there.
"""

import base64
import json
import time
import uuid
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

import grpc
import httpx
import httpx_sse
import requests
from websockets.sync.client import connect

import judge
from judge import GRPC, HTTP, check

ws_pb, _, pb, rpc = judge.stubs("busgate/ws/v1/frames", "event/v1/event")

# The first subscription of a Kafka group waits for the group to form.
DEADLINE = 60

service = rpc.EventServiceStub(grpc.insecure_channel(GRPC))
_http = requests.Session()


@dataclass
class Message:
    """What a client sends, and what it is to get: what is None is absent."""

    payload: bytes = b""
    id: str | None = None
    key: str | None = None
    source: str | None = None
    content_type: str | None = None
    metadata: dict = field(default_factory=dict)
    # Milliseconds since 1970.
    timestamp: int | None = None
    event: str | None = None
    cursor: str | None = None


def millis(text):
    """An RFC 3339 time as the doors write it, cut to milliseconds."""
    at = datetime.fromisoformat(text)
    return int(at.replace(microsecond=0).timestamp()) * 1000 + at.microsecond // 1000


def call(method, path, **options):
    answer = _http.request(method, f"http://{HTTP}{path}", timeout=DEADLINE, **options)
    if not answer.ok:
        raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json()


def register(event):
    call("POST", f"/v1/events/{event}")
    return event


def settle(ack_ids):
    entries = [{"ack_id": ack_id} for ack_id in ack_ids]
    return [result["status"] for result in call("POST", "/v1/ack", json={"entries": entries})["results"]]


# Reading: each answers the first `count` messages of an event, from its beginning.


def from_json(frame):
    """A message in JSON, in the manner of sockets and streams or of REST."""
    def value(name):
        camel = name.split("_")[0] + "".join(part.title() for part in name.split("_")[1:])
        return frame.get(name) or frame.get(camel) or None

    return Message(payload=base64.b64decode(frame.get("payload", "")), id=value("id"), key=value("key"),
                   source=value("source"), content_type=value("content_type"), metadata=value("metadata") or {},
                   timestamp=millis(frame["timestamp"]), event=value("event"), cursor=value("cursor"))


def from_proto(message):
    return Message(payload=message.payload, id=message.id or None, key=message.key or None, source=message.source or None,
                   content_type=message.content_type or None, metadata=dict(message.metadata),
                   timestamp=message.timestamp.ToMilliseconds(), event=message.event, cursor=message.cursor)


def history(event, count):
    messages, after = [], ""
    while len(messages) < count:
        page = call("GET", f"/v1/events/{event}/messages?limit=3{after}")
        if not page["messages"]:
            raise AssertionError(f"history ends after {len(messages)} of {count} messages")
        messages += map(from_json, page["messages"])
        after = f"&after={page['next']}"
    return messages


def read_messages(event, count):
    messages, after = [], ""
    while len(messages) < count:
        page = service.ReadMessages(pb.ReadMessagesRequest(event=event, start_after=after, limit=3), timeout=DEADLINE)
        if page.end and not page.messages:
            raise AssertionError(f"history ends after {len(messages)} of {count} messages")
        messages += map(from_proto, page.messages)
        after = page.next_cursor
    return messages


def sse(event, count):
    url = f"http://{HTTP}/v1/events/{event}/stream?start_from=beginning"
    return [message for message, _ in sse_frames(url, count)]


def sse_pool(event, count):
    """A worker that gets its messages as a stream, and settles by POST."""
    url = f"http://{HTTP}/v1/events/{event}/stream?start_from=beginning&ack=manual&delivery_mode=worker_pool&worker_group=sse"
    got = []
    for message, ack_id in sse_frames(url, count):
        check("settled by POST", settle([ack_id]), ["acked"])
        got.append(message)
    return got


def sse_frames(url, count):
    with httpx.Client(timeout=DEADLINE) as client, httpx_sse.connect_sse(client, "GET", url) as source:
        for frame in source.iter_sse():
            if frame.event == "message" and frame.data:
                data = json.loads(frame.data)
                check("the frame's id is the cursor", frame.id, data["cursor"])
                yield from_json(data), data.get("ack_id")
                count -= 1
                if count == 0:
                    return
            elif frame.event not in ("heartbeat", "message"):
                raise AssertionError(f"unexpected {frame.event}: {frame.data}")


def ws_frames(socket):
    """The messages of a socket in JSON."""
    while True:
        frame = json.loads(socket.recv(timeout=DEADLINE))
        if frame["type"] == "message":
            yield frame
        elif frame["type"] not in ("heartbeat", "ok"):
            raise AssertionError(f"unexpected frame {frame}")


def websocket(event, count):
    with connect(f"ws://{HTTP}/v1/events/{event}/subscribe?ack=auto&start_from=beginning") as socket:
        frames = ws_frames(socket)
        return [from_json(next(frames)) for _ in range(count)]


def websocket_pool(event, count):
    query = "delivery_mode=worker_pool&worker_group=ws&start_from=beginning"
    with connect(f"ws://{HTTP}/v1/events/{event}/subscribe?{query}") as socket:
        got = []
        for frame in islice(ws_frames(socket), count):
            # One by one: a key's next message waits for this one to be settled.
            check("acked", settle([frame["ack_id"]]), ["acked"])
            got.append(from_json(frame))
        return got


def proto_socket(event, count):
    with connect(f"ws://{HTTP}/v1/ws", subprotocols=["busgate.v1.proto"]) as socket:
        start = pb.SubscribeRequest(event=event, start_from=pb.START_POSITION_BEGINNING, ack_mode=pb.ACK_MODE_AUTO)
        socket.send(ws_pb.ClientFrame(ref="s", subscribe=start).SerializeToString())
        got = []
        while len(got) < count:
            frame = ws_pb.ServerFrame.FromString(socket.recv(timeout=DEADLINE))
            kind = frame.WhichOneof("frame")
            check("frame", kind in ("ok", "heartbeat", "message"), True)
            if kind == "message":
                got.append(from_proto(frame.message))
        return got


def subscribed(event, count, **fields):
    start = pb.SubscribeRequest(event=event, start_from=pb.START_POSITION_BEGINNING, **fields)
    stream = service.Subscribe(start, timeout=DEADLINE)
    got = []
    for message in islice(stream, count):
        if message.ack_id:
            results = service.Ack(pb.AckRequest(entries=[pb.AckEntry(ack_id=message.ack_id)]), timeout=DEADLINE).results
            check("acked", [result.status for result in results], [pb.ACK_STATUS_ACKED])
        got.append(from_proto(message))
    stream.cancel()
    return got


def subscribe(event, count):
    return subscribed(event, count, ack_mode=pb.ACK_MODE_AUTO)


def subscribe_pool(event, count):
    return subscribed(event, count, delivery_mode=pb.DELIVERY_MODE_WORKER_POOL, worker_group="grpc")


def subscribe_named(event, count):
    return subscribed(event, count, consumer_id="grpc")


READERS = [history, read_messages, sse, sse_pool, websocket, websocket_pool, proto_socket, subscribe, subscribe_pool,
           subscribe_named]


def read_everywhere(event, want, order=None):
    """All messages of `event` on every door must be `want`; `order` is a sort key where the broker keeps no order."""
    for reader in READERS:
        got = reader(event, len(want))
        if order:
            got, want = sorted(got, key=order), sorted(want, key=order)
        for message, expected in zip(got, want, strict=True):
            same(f"{reader.__name__} of {expected.payload[:40]!r}", message, expected, event)


def same(what, got, want, event):
    """What `want` leaves open (id and timestamp) is not looked at; everything else is exact."""
    for name in ("payload", "key", "source", "content_type", "metadata"):
        check(f"{what}: {name}", getattr(got, name), getattr(want, name))
    for name in ("id", "timestamp"):
        if getattr(want, name) is not None:
            check(f"{what}: {name}", getattr(got, name), getattr(want, name))
    check(f"{what}: event", got.event, event)
    check(f"{what}: has a place", bool(got.cursor) and len(got.cursor) <= 512, True)


# Publishing: each sends one message and answers what its id is.


def as_json(message):
    body = {"payload": base64.b64encode(message.payload).decode(), "id": message.id, "key": message.key,
            "content_type": message.content_type, "metadata": message.metadata}
    return {name: value for name, value in body.items() if value}


def as_proto(event, message):
    return pb.PublishRequest(event=event, payload=message.payload, id=message.id or "", key=message.key or "",
                             content_type=message.content_type or "", metadata=message.metadata,
                             source=message.source or "")


def by_rest(event, message):
    headers = {"x-source": message.source} if message.source else {}
    return call("POST", f"/v1/events/{event}/messages", json=as_json(message), headers=headers)["id"]


def by_raw_rest(event, message):
    """The body is the payload; trace context goes in its own headers, other metadata in `x-meta-…`, in lower case."""
    headers = {"content-type": message.content_type, "x-message-id": message.id, "x-message-key": message.key,
               "x-source": message.source}
    for key, value in message.metadata.items():
        headers[key if key in ("traceparent", "tracestate") else f"x-meta-{key}"] = value
    headers = {name: value for name, value in headers.items() if value}
    # Without a content type this one is what a raw body is.
    headers.setdefault("content-type", "application/octet-stream")
    return call("POST", f"/v1/events/{event}/messages", data=message.payload, headers=headers)["id"]


def by_rest_batch(event, message):
    headers = {"x-source": message.source} if message.source else {}
    body = {"messages": [as_json(message)]}
    result = call("POST", f"/v1/events/{event}/messages:batch", json=body, headers=headers)["results"][0]
    return result["accepted"]["id"]


def by_socket(event, message):
    with connect(f"ws://{HTTP}/v1/ws") as socket:
        socket.send(json.dumps({"type": "publish", "ref": "p", "event": event} | as_json(message)))
        answer = json.loads(socket.recv(timeout=DEADLINE))
        check(f"published: {answer}", (answer["type"], answer["ref"]), ("ok", "p"))
        return answer["id"]


def by_proto_socket(event, message):
    with connect(f"ws://{HTTP}/v1/ws", subprotocols=["busgate.v1.proto"]) as socket:
        socket.send(ws_pb.ClientFrame(ref="p", publish=as_proto(event, message)).SerializeToString())
        return ws_pb.ServerFrame.FromString(socket.recv(timeout=DEADLINE)).ok.published.id


def by_grpc(event, message):
    return service.Publish(as_proto(event, message), timeout=DEADLINE).id


def by_grpc_batch(event, message):
    batch = pb.PublishBatchRequest(messages=[as_proto(event, message)])
    return service.PublishBatch(batch, timeout=DEADLINE).results[0].accepted.id


def by_grpc_stream(event, message):
    frames = iter([pb.PublishStreamRequest(sequence=1, message=as_proto(event, message))])
    return next(service.PublishStream(frames, timeout=DEADLINE)).result.accepted.id


PUBLISHERS = [by_rest, by_raw_rest, by_rest_batch, by_socket, by_proto_socket, by_grpc, by_grpc_batch, by_grpc_stream]

# A JSON publish can't say who it is of on a socket.
ANONYMOUS = [by_socket]


def publish_everywhere(event, message):
    """The same message from every door, each under an id of its own; answers (door, message as native clients must see it)."""
    sent = []
    for publisher in PUBLISHERS:
        name = publisher.__name__
        one = Message(**vars(message) | {"id": message.id and f"{message.id}-{name}"})
        if publisher is by_raw_rest:
            # HTTP headers are ASCII.
            one.metadata = {key: value for key, value in one.metadata.items() if value.isascii()}
        told = publisher(event, one)
        check(f"{name}: the id is the publisher's", one.id in (None, told), True)
        one.id = told
        if publisher in ANONYMOUS or not one.source:
            one.source = "remote"
        if publisher is by_raw_rest:
            one.content_type = one.content_type or "application/octet-stream"
        sent.append((name, one))
    return sent


def unique(stem):
    """A name of this scenario's own."""
    return f"{stem}.i{uuid.uuid4().hex[:8]}"


def eventually(what, found, want, attempts=100):
    """Asks again until the answer is as wanted."""
    for _ in range(attempts):
        got = found()
        if got == want:
            break
        time.sleep(0.1)
    check(what, got, want)


TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=opaque"}


def every_sort(mark):
    """Messages that doors publish: keyed and not, with and without metadata, of every byte and of none."""
    return [
        Message(payload=b""),
        Message(payload=judge.EVERY_BYTE),
        Message(payload=b'{"n": 1}', id=f"{mark}-full", key="customer-7", source="billing", content_type="application/vnd.shop+json",
                metadata={"shop": "7", "note": "h\u00e9 \u2603"} | TRACE),
    ]
