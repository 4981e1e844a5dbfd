"""A gRPC client whose stubs grpcio-tools generated: the scenarios of the gRPC door."""

import os
import signal
import threading
import time

import grpc
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from google.protobuf import descriptor_pb2

import judge
from judge import EVERY_BYTE, check, event_name, scenario

pb, rpc = judge.stubs("event/v1/event")

DEADLINE = 20
channel = grpc.insecure_channel(judge.GRPC)
service = rpc.EventServiceStub(channel)


def registered():
    name = event_name()
    service.RegisterEvent(pb.RegisterEventRequest(name=name), timeout=DEADLINE)
    return name


def publish(event, payload=b"x", **fields):
    return service.Publish(pb.PublishRequest(event=event, payload=payload, **fields), timeout=DEADLINE)


def subscribe(event, **fields):
    fields.setdefault("start_from", pb.START_POSITION_BEGINNING)
    return service.Subscribe(pb.SubscribeRequest(event=event, **fields), timeout=DEADLINE)


def workers(event, group="workers", **fields):
    return subscribe(event, delivery_mode=pb.DELIVERY_MODE_WORKER_POOL, worker_group=group, **fields)


def settle(*entries):
    results = service.Ack(pb.AckRequest(entries=entries), timeout=DEADLINE).results
    return [pb.AckStatus.Name(result.status).removeprefix("ACK_STATUS_") for result in results]


def ack(message):
    return settle(pb.AckEntry(ack_id=message.ack_id))


def seconds(value):
    """A google.protobuf.Duration from seconds."""
    from google.protobuf.duration_pb2 import Duration

    return Duration(seconds=int(value), nanos=int(value % 1 * 1e9))


def failure(call):
    """The code and the kind a call fails with."""
    try:
        call()
    except grpc.RpcError as error:
        kind = dict(error.trailing_metadata() or ()).get("busgate-error-kind")
        return error.code().name, kind
    return "OK", None


@scenario
def round_trip():
    event = registered()
    sent = dict(id="m-1", key="customer-7", content_type="application/x-bytes", metadata={"Content-Type": "json", "x": "ÿ"})
    receipt = publish(event, EVERY_BYTE, **sent)
    check("the id is the publisher's", receipt.id, "m-1")
    check("a cursor is given", receipt.cursor != "", True)
    again = publish(event, EVERY_BYTE, **sent)
    check("the same id is a duplicate", (again.id, again.duplicate), ("m-1", True))
    stream = workers(event)
    message = next(stream)
    check("payload", message.payload, EVERY_BYTE)
    check("metadata", dict(message.metadata), sent["metadata"])
    got = (message.id, message.key, message.content_type, message.event, message.cursor, message.retry_count)
    check("fields", got, ("m-1", "customer-7", "application/x-bytes", event, receipt.cursor, 0))
    check("source", message.source, "remote")
    check("acked", ack(message), ["ACKED"])
    check("a second ack changes nothing", ack(message), ["STALE"])
    stream.cancel()
    listed = service.ListEvents(pb.ListEventsRequest(), timeout=DEADLINE)
    check("listed", event in listed.events and event in [info.name for info in listed.infos], True)


@scenario
def source_is_the_callers():
    event = registered()
    service.Publish(pb.PublishRequest(event=event), metadata=[("x-source", "billing")], timeout=DEADLINE)
    check("source", next(subscribe(event)).source, "billing")


@scenario
def nacked_comes_back():
    event = registered()
    publish(event, b"again")
    stream = workers(event)
    first = next(stream)
    nack = pb.AckEntry(ack_id=first.ack_id, error="not today", retry_after=seconds(0.05))
    check("nacked", settle(nack), ["NACKED"])
    second = next(stream)
    check("the same message", (second.id, second.payload), (first.id, b"again"))
    check("counted", second.retry_count, 1)
    check("the earlier lease is stale", ack(first), ["STALE"])
    check("acked", ack(second), ["ACKED"])


@scenario
def expired_comes_back():
    event = registered()
    publish(event)
    stream = workers(event, ack_wait=seconds(0.3))
    first, began = next(stream), time.monotonic()
    second = next(stream)
    check("the same message", (second.id, second.retry_count), (first.id, 1))
    check("not before the lease ended", time.monotonic() - began > 0.25, True)
    check("the earlier lease is stale", ack(first), ["STALE"])
    check("acked", ack(second), ["ACKED"])


@scenario
def extended_stays():
    event = registered()
    publish(event)
    stream = workers(event, ack_wait=seconds(0.5))
    message = next(stream)
    check("extended", settle(pb.AckEntry(ack_id=message.ack_id, extend=seconds(10))), ["EXTENDED"])
    arrived = threading.Event()
    threading.Thread(target=lambda: [arrived.set() for _ in silent(stream)], daemon=True).start()
    check("nothing comes back after the first lease", arrived.wait(1.2), False)
    check("still ours", ack(message), ["ACKED"])
    stream.cancel()


def silent(stream):
    """The messages of a stream until it ends in whatever way."""
    try:
        yield from stream
    except grpc.RpcError:
        pass


@scenario
def dropped_stream_hands_back():
    event = registered()
    publish(event, b"orphan")
    holder = workers(event)
    message = next(holder)
    heir = workers(event)
    holder.cancel()
    began = time.monotonic()
    second = next(heir)
    check("the same message", (second.id, second.payload), (message.id, b"orphan"))
    check("long before its lease of 30 s ends", time.monotonic() - began < 10, True)
    check("acked", ack(second), ["ACKED"])


@scenario
def rejected_is_a_dead_letter():
    event = registered()
    publish(event, b"poison", metadata={"shop": "7"})
    message = next(workers(event))
    reject = pb.AckEntry(ack_id=message.ack_id, error="cannot parse", terminate=True)
    check("rejected", settle(reject), ["REJECTED"])
    dead = next(subscribe(f"_dlq.{event}"))
    check("payload", dead.payload, b"poison")
    check("metadata stays", dead.metadata["shop"], "7")
    check("the story", "cannot parse" in " ".join(dead.metadata.values()), True)


@scenario
def pool_shares_and_broadcast_repeats():
    event = registered()
    streams = [workers(event, max_in_flight=5), workers(event, max_in_flight=5)]
    seen, lock = [], threading.Lock()

    def work(stream):
        for message in silent(stream):
            with lock:
                seen.append(message.id)
            ack(message)

    for stream in streams:
        threading.Thread(target=work, args=[stream], daemon=True).start()
    ids = {publish(event, str(n).encode()).id for n in range(100)}
    for _ in range(200):
        if len(seen) >= 100:
            break
        time.sleep(0.05)
    check("each to one member", (sorted(seen)), sorted(ids))
    for name in "ab":
        stream = subscribe(event, ack_mode=pb.ACK_MODE_AUTO)
        check(f"broadcast {name}", [next(stream).payload for _ in range(100)], [str(n).encode() for n in range(100)])
        stream.cancel()
    for stream in streams:
        stream.cancel()


@scenario
def batch_answers_per_entry():
    event = registered()
    requests_ = [
        pb.PublishRequest(event=event, id="a", payload=b"1"),
        pb.PublishRequest(event=event, id="a", payload=b"1"),
        pb.PublishRequest(event="not a name", payload=b"2"),
        pb.PublishRequest(event=event, id="b", payload=bytes(1024 * 1024 + 1)),
        pb.PublishRequest(event=event, id="c", payload=b"3"),
    ]
    results = service.PublishBatch(pb.PublishBatchRequest(messages=requests_), timeout=DEADLINE).results
    check("outcomes", [result.WhichOneof("outcome") for result in results],
          ["accepted", "accepted", "failure", "failure", "accepted"])
    check("duplicate", [results[0].accepted.duplicate, results[1].accepted.duplicate], [False, True])
    check("kinds", [results[2].failure.code, results[3].failure.code], ["invalid", "too_large"])
    check("no effect", {results[2].failure.effect, results[3].failure.effect}, {"none"})
    stream = subscribe(event, ack_mode=pb.ACK_MODE_AUTO)
    check("the successes are there, once", [next(stream).id, next(stream).id], ["a", "c"])


@scenario
def publish_stream_answers_each():
    event = registered()
    count = 500
    frames = (
        pb.PublishStreamRequest(sequence=n, message=pb.PublishRequest(event=event, id=f"s{n}", payload=b"%d" % n))
        for n in range(count)
    )
    answers = {answer.sequence: answer.result for answer in service.PublishStream(frames, timeout=DEADLINE)}
    check("every sequence answered", sorted(answers), list(range(count)))
    check("by its own id", all(answers[n].accepted.id == f"s{n}" for n in answers), True)
    stream = subscribe(event, ack_mode=pb.ACK_MODE_AUTO)
    check("in the order sent", [next(stream).id for _ in range(count)], [f"s{n}" for n in range(count)])


class Frames:
    """A request stream that is fed while it runs."""

    def __init__(self, *first):
        import queue

        self.queue = queue.Queue()
        for frame in first:
            self.queue.put(frame)

    def put(self, frame):
        self.queue.put(frame)

    def close(self):
        self.queue.put(None)

    def __iter__(self):
        return iter(self.queue.get, None)


@scenario
def consume_settles_on_the_stream():
    event = registered()
    for n in range(4):
        publish(event, b"%d" % n)
    start = pb.SubscribeRequest(event=event, delivery_mode=pb.DELIVERY_MODE_WORKER_POOL, worker_group="g",
                                start_from=pb.START_POSITION_BEGINNING)
    frames = Frames(pb.ConsumeRequest(credit=pb.ConsumeCredit(messages=2)), pb.ConsumeRequest(subscribe=start))
    stream = service.Consume(iter(frames), timeout=DEADLINE)
    first, second = next(stream).message, next(stream).message
    check("two for two credits", [first.payload, second.payload], [b"0", b"1"])
    frames.put(acks(7, pb.AckEntry(ack_id=first.ack_id),
                    pb.AckEntry(ack_id=second.ack_id, error="later", retry_after=seconds(0.05)),
                    pb.AckEntry(ack_id="forged")))
    results = next(stream).ack_results
    check("answered by sequence, before any more messages", results.sequence, 7)
    check("statuses", [pb.AckStatus.Name(r.status) for r in results.results],
          ["ACK_STATUS_ACKED", "ACK_STATUS_NACKED", "ACK_STATUS_INVALID"])
    frames.put(pb.ConsumeRequest(credit=pb.ConsumeCredit(messages=10)))
    rest = [next(stream).message for _ in range(3)]
    check("the rest and the nacked one", sorted(m.payload for m in rest), [b"1", b"2", b"3"])
    frames.put(acks(8, *[pb.AckEntry(ack_id=m.ack_id) for m in rest]))
    check("all acked", {r.status for r in next(stream).ack_results.results}, {pb.ACK_STATUS_ACKED})
    frames.close()
    stream.cancel()


def acks(sequence, *entries):
    return pb.ConsumeRequest(ack=pb.ConsumeAck(sequence=sequence, entries=entries))


@scenario
def resumes_after_a_cursor():
    event = registered()
    cursors = [publish(event, b"%d" % n).cursor for n in range(5)]
    stream = subscribe(event, start_after=cursors[1], ack_mode=pb.ACK_MODE_AUTO)
    check("strictly after", [next(stream).payload for _ in range(3)], [b"2", b"3", b"4"])
    publish(event, b"5")
    check("and on into the live", next(stream).payload, b"5")
    patterned = subscribe("outside.*", ack_mode=pb.ACK_MODE_AUTO, start_from=pb.START_POSITION_LATEST)
    time.sleep(0.5)
    publish(event, b"6")
    check("a pattern names its event", next(patterned).event, event)


@scenario
def unregistering_ends_with_ok():
    event = registered()
    stream = subscribe(event)
    threading.Timer(0.5, lambda: service.UnregisterEvent(pb.UnregisterEventRequest(name=event), timeout=DEADLINE)).start()
    check("no message", list(stream), [])
    check("status", stream.code(), grpc.StatusCode.OK)
    check("kind", dict(stream.trailing_metadata()).get("busgate-error-kind"), "closed")


@scenario
def errors_come_from_one_table():
    event = registered()
    check("bad name", failure(lambda: publish("not a name")), ("INVALID_ARGUMENT", "invalid"))
    check("name of the gateway's own", failure(lambda: publish("_dlq.x"))[0] in ("INVALID_ARGUMENT", "PERMISSION_DENIED"), True)
    check("too large", failure(lambda: publish(event, bytes(1024 * 1024 + 1))), ("OUT_OF_RANGE", "too_large"))
    check("limit", failure(lambda: publish(event, bytes(1024 * 1024))), ("OK", None))
    check("far too large", failure(lambda: publish(event, bytes(40 * 1024 * 1024)))[0] in ("OUT_OF_RANGE", "RESOURCE_EXHAUSTED"), True)
    from google.protobuf.timestamp_pb2 import Timestamp

    later = Timestamp(seconds=4_000_000_000)
    check("not offered", failure(lambda: publish(event, deliver_at=later)), ("UNIMPLEMENTED", "unsupported"))
    check("nor filters", failure(lambda: next(subscribe(event, filter="x"))), ("UNIMPLEMENTED", "unsupported"))
    check("forged ack", failure(lambda: settle(pb.AckEntry(ack_id="forged"))), ("INVALID_ARGUMENT", "invalid"))
    check("bad cursor", failure(lambda: next(subscribe(event, start_after="née"))), ("INVALID_ARGUMENT", "invalid"))
    check("unknown event", failure(lambda: next(subscribe("nobody.knows"))), ("NOT_FOUND", "not_found"))
    check("negative duration", failure(lambda: next(workers(event, ack_wait=seconds(-1)))), ("INVALID_ARGUMENT", "invalid"))
    check("unknown enum value", failure(lambda: next(subscribe(event, delivery_mode=77))), ("INVALID_ARGUMENT", "invalid"))
    check("unknown method", failure(lambda: channel.unary_unary("/event.v1.EventService/Nope")(b""))[0], "UNIMPLEMENTED")
    check("and it lives", service.Health(pb.HealthRequest(), timeout=DEADLINE).status, pb.HEALTH_STATUS_HEALTHY)


@scenario
def health_is_served():
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "event.v1.EventService"):
        status = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=DEADLINE).status
        check(f"health of {name!r}", status, health_pb2.HealthCheckResponse.SERVING)
    check("unknown service", failure(lambda: health.Check(health_pb2.HealthCheckRequest(service="x"), timeout=DEADLINE))[0],
          "NOT_FOUND")


@scenario
def reflection_tells_all():
    for version in ("v1", "v1alpha"):
        ask = channel.stream_stream(
            f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="event.v1.EventService"),
        ]
        listed, described = list(ask(iter(asked), timeout=DEADLINE))
        names = {service.name for service in listed.list_services_response.service}
        check(f"{version} lists", names >= {"event.v1.EventService", "grpc.health.v1.Health"}, True)
        files = described.file_descriptor_response.file_descriptor_proto
        methods = {
            method.name
            for file in map(descriptor_pb2.FileDescriptorProto.FromString, files)
            for service in file.service
            for method in service.method
        }
        check(f"{version} describes", methods >= {"Publish", "Subscribe", "Ack", "Consume", "PublishBatch"}, True)


@scenario
def grpc_web_answers():
    body = b"\0" + len(b"").to_bytes(4, "big")
    answer = requests.post(
        f"http://{judge.GRPC}/event.v1.EventService/Health",
        data=body,
        headers={"content-type": "application/grpc-web+proto", "x-grpc-web": "1"},
        timeout=DEADLINE,
    )
    check("status", (answer.status_code, answer.headers["content-type"]), (200, "application/grpc-web+proto"))
    length = int.from_bytes(answer.content[1:5], "big")
    health = pb.HealthResponse.FromString(answer.content[5:5 + length])
    check("message", health.status, pb.HEALTH_STATUS_HEALTHY)
    trailers = answer.content[5 + length:]
    check("trailers", (trailers[0], b"grpc-status:0" in trailers.replace(b" ", b"")), (0x80, True))


@scenario
def many_streams_on_one_connection():
    event = registered()
    streams = [subscribe(event, start_from=pb.START_POSITION_LATEST) for _ in range(300)]
    for stream in streams:
        stream.initial_metadata()
    began = time.monotonic()
    publish(event, b"all")
    check("published beside them", time.monotonic() - began < 5, True)
    check("all got it", {next(stream).payload for stream in streams}, {b"all"})


@scenario
def drain_ends_with_unavailable():
    event = registered()
    publish(event)
    stream = workers(event)
    message = next(stream)
    os.kill(judge.PID, signal.SIGTERM)
    time.sleep(0.3)
    check("an ack is still taken", ack(message), ["ACKED"])
    check("end", failure(lambda: next(stream)), ("UNAVAILABLE", "unavailable"))


judge.run()
