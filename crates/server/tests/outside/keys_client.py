"""API keys with rules, on all four doors, and who may settle what."""

import json
import time

import grpc
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import judge
from judge import HTTP, check, run, scenario

pb, rpc = judge.stubs("event/v1/event")
service = rpc.EventServiceStub(grpc.insecure_channel(judge.GRPC))

DEADLINE = 20
KEYS = {name: f"{name}-0123456789abcdef" for name in ("owner", "shop", "stock", "nobody")}


def bearer(name):
    return {"authorization": f"Bearer {KEYS[name]}"} if name else {}


def rest(method, path, name, **options):
    return requests.request(method, f"http://{HTTP}{path}", headers=bearer(name), timeout=DEADLINE, **options)


def code(call, request, name):
    """The gRPC status of a call; a stream's is that of its first message."""
    try:
        answer = call(request, metadata=list(bearer(name).items()), timeout=DEADLINE)
        if isinstance(answer, grpc.Call):
            next(answer)
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


def upgrade(path, name):
    """The HTTP status a WebSocket handshake is answered with."""
    try:
        with connect(f"ws://{HTTP}{path}", additional_headers=bearer(name)):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


def stream_status(event, name):
    """The status an event stream is answered with."""
    with requests.get(f"http://{HTTP}/v1/events/{event}/stream", headers=bearer(name), stream=True, timeout=DEADLINE) as answer:
        return answer.status_code


def opened():
    for event in ("orders.created", "payroll.paid"):
        check("registered", rest("POST", f"/v1/events/{event}", "owner").status_code, 200)
        check("published", rest("POST", f"/v1/events/{event}/messages", "owner", json={"text": "x"}).status_code, 200)


@scenario
def nobody_comes_in():
    opened()
    for name in (None, "nobody"):
        refused = rest("POST", "/v1/events/orders.created/messages", name, json={"text": "x"})
        check("REST", (refused.status_code, refused.json()["code"]), (401, "unauthenticated"))
        check("says how", "www-authenticate" in refused.headers, True)
        check("events", rest("GET", "/v1/events", name).status_code, 401)
        check("ack", rest("POST", "/v1/ack", name, json={"entries": [{"ack_id": "x"}]}).status_code, 401)
        check("SSE", stream_status("orders.created", name), 401)
        check("WebSocket", upgrade("/v1/events/orders.created/subscribe", name), 401)
        check("many on one socket", upgrade("/v1/ws", name), 401)
        check("Publish", code(service.Publish, pb.PublishRequest(event="orders.created"), name), "UNAUTHENTICATED")
        check("Subscribe", code(service.Subscribe, pb.SubscribeRequest(event="orders.created"), name), "UNAUTHENTICATED")
        check("Ack", code(service.Ack, pb.AckRequest(entries=[pb.AckEntry(ack_id="x")]), name), "UNAUTHENTICATED")
        check("ListEvents", code(service.ListEvents, pb.ListEventsRequest(), name), "UNAUTHENTICATED")
    check("probes need none", requests.get(f"http://{HTTP}/readyz", timeout=DEADLINE).status_code, 200)


@scenario
def rules_hold_on_every_door():
    opened()
    beginning = pb.START_POSITION_BEGINNING
    for name, event, may_publish, may_subscribe in [
        ("shop", "orders.created", True, False),
        ("shop", "payroll.paid", False, False),
        ("stock", "orders.created", False, True),
        ("stock", "payroll.paid", False, False),
        ("stock", ">", None, False),
        ("stock", "orders.*", None, True),
    ]:
        who = f"{name} on {event}"
        if may_publish is not None:
            got = rest("POST", f"/v1/events/{event}/messages", name, json={"text": "x"}).status_code
            check(f"REST, {who}", got, 200 if may_publish else 403)
            got = code(service.Publish, pb.PublishRequest(event=event), name)
            check(f"gRPC publish, {who}", got, "OK" if may_publish else "PERMISSION_DENIED")
            check(f"history, {who}", rest("GET", f"/v1/events/{event}/messages", name).status_code, 200 if may_subscribe else 403)
        got = code(service.Subscribe, pb.SubscribeRequest(event=event, start_from=beginning), name)
        check(f"gRPC subscribe, {who}", got, "OK" if may_subscribe else "PERMISSION_DENIED")
        quoted = event.replace(">", "%3E")
        check(f"SSE, {who}", stream_status(quoted, name), 200 if may_subscribe else 403)
        check(f"WebSocket, {who}", upgrade(f"/v1/events/{quoted}/subscribe", name), 101 if may_subscribe else 403)
    check("register", rest("POST", "/v1/events/orders.new", "shop").status_code, 403)
    check("unregister", rest("DELETE", "/v1/events/orders.created", "stock").status_code, 403)
    with connect(f"ws://{HTTP}/v1/ws", additional_headers=bearer("stock")) as socket:
        socket.send(json.dumps({"type": "publish", "ref": "1", "event": "orders.created", "text": "x"}))
        frame = json.loads(socket.recv(timeout=DEADLINE))
        check("publish on a socket", (frame["ref"], frame["code"]), ("1", "denied"))


@scenario
def a_lease_has_one_owner():
    opened()
    workers = pb.SubscribeRequest(event="orders.created", delivery_mode=pb.DELIVERY_MODE_WORKER_POOL,
                                  start_from=pb.START_POSITION_BEGINNING)
    stream = service.Subscribe(workers, metadata=list(bearer("stock").items()), timeout=DEADLINE)
    message = next(stream)
    check("the source is who published", message.source, "owner")
    body = {"entries": [{"ack_id": message.ack_id}]}
    status = lambda name: rest("POST", "/v1/ack", name, json=body).json()["results"][0]["status"]
    check("not the owner's of the gateway", status("owner"), "not_owner")
    denied = rest("POST", "/v1/ack", "shop", json=body)
    foreign = denied.status_code == 403 or denied.json()["results"][0]["status"] == "not_owner"
    check(f"nor a publisher's: {denied.text}", foreign, True)
    tampered = {"entries": [{"ack_id": message.ack_id[:-2] + ("AA" if message.ack_id[-2:] != "AA" else "BB")}]}
    check("nor a forger's", rest("POST", "/v1/ack", "stock", json=tampered).status_code, 400)
    check("but stock's, on another door", status("stock"), "acked")
    check("once", status("stock"), "stale")
    stream.cancel()


@scenario
def idle_streams_show_signs_of_life():
    opened()
    with requests.get(f"http://{HTTP}/v1/events/orders.created/stream", headers=bearer("stock"), stream=True, timeout=5) as answer:
        began, text = time.monotonic(), b""
        for part in answer.iter_content(1):
            text += part
            if b"event: heartbeat\ndata: {}\n\n" in text or time.monotonic() - began > 5:
                break
        check("SSE", text.endswith(b"event: heartbeat\ndata: {}\n\n"), True)
        check("not buffered by a proxy", answer.headers["x-accel-buffering"], "no")
    with connect(f"ws://{HTTP}/v1/events/orders.created/subscribe", additional_headers=bearer("stock")) as socket:
        check("WebSocket", json.loads(socket.recv(timeout=5)), {"type": "heartbeat"})


run()
