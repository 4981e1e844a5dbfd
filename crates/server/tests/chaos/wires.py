"""The protocols: stubs from the proto files, REST calls, and the names of what is answered."""

import os
import tempfile

import grpc
import httpx
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

SERVICE = "/event.v1.EventService"

STATUSES = ["unspecified", "acked", "nacked", "rejected", "extended", "stale", "unknown", "not_owner", "invalid",
            "unavailable", "released"]

# A client that waits long for a gateway that is back sees less of it.
CHANNEL = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 400),
           ("grpc.use_local_subchannel_pool", 1)]


class Stub:
    """The messages of one proto file, apart from those of any other of the same name."""

    def __init__(self, folder):
        with tempfile.TemporaryDirectory() as scratch:
            out = os.path.join(scratch, "set")
            well_known = os.path.join(os.path.dirname(protoc.__file__), "_proto")
            arguments = ["protoc", f"-I{folder}", f"-I{well_known}", "--include_imports",
                         f"--descriptor_set_out={out}", "event/v1/event.proto"]
            if protoc.main(arguments) != 0:
                raise RuntimeError(f"protoc failed: {arguments}")
            with open(out, "rb") as file:
                files = descriptor_pb2.FileDescriptorSet.FromString(file.read())
        self._pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self._pool.Add(file)

    def __getattr__(self, name):
        package = "google.protobuf" if name == "Duration" else "event.v1"
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{package}.{name}"))

    def seconds(self, value):
        return self.Duration(seconds=int(value), nanos=int(value % 1 * 1e9))


OURS = Stub(os.environ["BUSGATE_PROTO"])
SEED = Stub(os.environ["BUSGATE_SEED_PROTO"])


def channel(address):
    return grpc.aio.insecure_channel(address, options=CHANNEL)


def unary(channel, method, request, response):
    return channel.unary_unary(f"{SERVICE}/{method}", request_serializer=request.SerializeToString,
                               response_deserializer=response.FromString)


class Failed(Exception):
    """A call that may or may not have been heard."""


class Rest:
    """The REST door, for whoever has no other way."""

    def __init__(self, gateway):
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=40)
        self.gateway, self.client = gateway, httpx.AsyncClient(timeout=8, limits=limits)

    async def call(self, method, path, **options):
        try:
            answer = await self.client.request(method, f"http://{self.gateway.http}{path}", **options)
        except httpx.HTTPError as error:
            raise Failed(repr(error)) from error
        if answer.status_code >= 400:
            raise Failed(f"{answer.status_code} {answer.text}")
        return answer.json()

    async def settle(self, ack_id, verb, seconds):
        entry = {"ack_id": ack_id}
        if verb == "nack":
            entry["error"] = "chaos"
        if seconds is not None:
            entry["extend" if verb == "extend" else "retry_after"] = f"{seconds:.3f}s"
        answer = await self.call("POST", "/v1/ack", json={"entries": [entry]})
        return answer["results"][0]["status"]
