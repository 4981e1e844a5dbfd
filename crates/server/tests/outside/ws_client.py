"""The `websockets` package on both WebSocket endpoints, in JSON and in protobuf."""

import base64
import json

import requests
from websockets.sync.client import connect

import judge
from judge import EVERY_BYTE, HTTP, check, event_name, scenario

DEADLINE = 20


def registered():
    name = event_name()
    requests.post(f"http://{HTTP}/v1/events/{name}", timeout=DEADLINE).raise_for_status()
    return name


def publish(event, payload, **headers):
    headers = {"content-type": "application/octet-stream"} | headers
    answer = requests.post(f"http://{HTTP}/v1/events/{event}/messages", data=payload, headers=headers, timeout=DEADLINE)
    answer.raise_for_status()
    return answer.json()


def statuses(*ack_ids):
    body = {"entries": [{"ackId": ack_id} for ack_id in ack_ids]}
    answer = requests.post(f"http://{HTTP}/v1/ack", json=body, timeout=DEADLINE)
    answer.raise_for_status()
    return [result["status"] for result in answer.json()["results"]]


def frames(socket, wanted="message"):
    """The frames of one type, others but heartbeats being a surprise."""
    while True:
        frame = json.loads(socket.recv(timeout=DEADLINE))
        if frame["type"] == wanted:
            yield frame
        elif frame["type"] != "heartbeat":
            raise AssertionError(f"unexpected frame {frame}")


@scenario
def one_event():
    event = registered()
    receipt = publish(event, EVERY_BYTE)
    url = f"ws://{HTTP}/v1/events/{event}/subscribe?delivery_mode=worker_pool&worker_group=w&start_from=beginning"
    with connect(url) as socket:
        messages = frames(socket)
        first = next(messages)
        check("payload", base64.b64decode(first["payload"]), EVERY_BYTE)
        check("place", (first["id"], first["cursor"], first["event"]), (receipt["id"], receipt["cursor"], event))
        socket.send(json.dumps({"type": "ack", "ack_id": first["ack_id"], "error": "no", "retry_after_ms": 50}))
        second = next(messages)
        check("nacked comes back", (second["id"], second["retry_count"]), (first["id"], 1))
        socket.send(json.dumps({"type": "ack", "ack_id": second["ack_id"]}))
        publish(event, b"next")
        third = next(messages)
        check("the earlier lease and the settled one", statuses(first["ack_id"], second["ack_id"]), ["stale", "stale"])
        check("the open one", statuses(third["ack_id"]), ["acked"])


@scenario
def encodings():
    event = registered()
    publish(event, '{"a": [1, "\u00e9\u2028"]}'.encode(), **{"content-type": "application/octet-stream"})
    for encoding, field, want in [
        ("base64", "payload", base64.b64encode('{"a": [1, "\u00e9\u2028"]}'.encode()).decode()),
        ("text", "payload", '{"a": [1, "\u00e9\u2028"]}'),
        ("json", "data", {"a": [1, "\u00e9\u2028"]}),
    ]:
        with connect(f"ws://{HTTP}/v1/events/{event}/subscribe?ack=auto&start_from=beginning&encoding={encoding}") as socket:
            check(encoding, next(frames(socket))[field], want)


@scenario
def many_on_one_socket():
    event = registered()
    with connect(f"ws://{HTTP}/v1/ws", subprotocols=["busgate.v1.json"]) as socket:
        check("subprotocol", socket.subprotocol, "busgate.v1.json")
        subscribe = {"type": "subscribe", "ref": "s", "event": event, "delivery_mode": "worker_pool", "worker_group": "g",
                     "start_from": "beginning"}
        socket.send(json.dumps(subscribe))
        check("subscribed", next(frames(socket, "ok"))["ref"], "s")
        publish(event, b"hello")
        message = next(frames(socket))
        check("message", (message["sub"], base64.b64decode(message["payload"])), ("s", b"hello"))
        socket.send(json.dumps({"type": "ack", "ref": "a", "ack_id": message["ack_id"]}))
        check("acked", next(frames(socket, "ok"))["ref"], "a")
        check("really", statuses(message["ack_id"]), ["stale"])


@scenario
def protobuf_frames():
    ws, _, pb, _ = judge.stubs("busgate/ws/v1/frames", "event/v1/event")
    event = registered()
    with connect(f"ws://{HTTP}/v1/ws", subprotocols=["busgate.v1.proto"]) as socket:
        check("subprotocol", socket.subprotocol, "busgate.v1.proto")

        def send(**frame):
            socket.send(ws.ClientFrame(**frame).SerializeToString())

        def receive(kind):
            while True:
                data = socket.recv(timeout=DEADLINE)
                check("binary", type(data), bytes)
                frame = ws.ServerFrame.FromString(data)
                if frame.WhichOneof("frame") != "heartbeat":
                    check("frame", frame.WhichOneof("frame"), kind)
                    return frame

        start = pb.SubscribeRequest(event=event, delivery_mode=pb.DELIVERY_MODE_WORKER_POOL, worker_group="g",
                                    start_from=pb.START_POSITION_BEGINNING)
        send(ref="s", subscribe=start)
        check("subscribed", receive("ok").ok.ref, "s")
        receipt = publish(event, EVERY_BYTE)
        got = receive("message")
        check("message", (got.sub, got.message.payload, got.message.cursor), ("s", EVERY_BYTE, receipt["cursor"]))
        send(ref="a", ack=pb.AckRequest(entries=[pb.AckEntry(ack_id=got.message.ack_id)]))
        check("acked", receive("ok").ok.results[0].status, pb.ACK_STATUS_ACKED)
        send(ref="p", publish=pb.PublishRequest(event="not a name"))
        check("refused", (lambda e: (e.ref, e.code))(receive("error").error), ("p", "invalid"))
        send(ref="!", ping=ws.Ping())
        check("ping", receive("ok").ok.ref, "!")


@scenario
def deflated_both_ways():
    """The package offers permessage-deflate and does the other half of it itself."""
    event = registered()
    long = "a long text that repeats itself, \u00e9 " * 200
    with connect(f"ws://{HTTP}/v1/ws") as socket:
        check("taken", [extension.name for extension in socket.protocol.extensions], ["permessage-deflate"])
        for mode in ["worker_pool", "broadcast"]:
            socket.send(json.dumps({"type": "subscribe", "ref": mode, "event": event, "delivery_mode": mode,
                                    "encoding": "text"}))
            check("subscribed", next(frames(socket, "ok"))["ref"], mode)
        socket.send(json.dumps({"type": "publish", "event": event, "text": long}))
        got = {}
        for frame in frames(socket):
            got[frame["sub"]] = frame["payload"]
            if len(got) == 2:
                break
        check("payloads", got, {"worker_pool": long, "broadcast": long})
    with connect(f"ws://{HTTP}/v1/ws", subprotocols=["busgate.v1.proto"]) as socket:
        ws, _, pb, _ = judge.stubs("busgate/ws/v1/frames", "event/v1/event")
        start = pb.SubscribeRequest(event=event, start_from=pb.START_POSITION_BEGINNING)
        socket.send(ws.ClientFrame(ref="s", subscribe=start).SerializeToString())
        while True:
            frame = ws.ServerFrame.FromString(socket.recv(timeout=DEADLINE))
            if frame.WhichOneof("frame") == "message":
                check("protobuf", frame.message.payload, long.encode())
                break


judge.run()
