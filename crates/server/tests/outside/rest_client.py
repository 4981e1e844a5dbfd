"""`curl` and `requests` on the REST door: the first event-server's own lines, the contract's rows, and bad input."""

import base64
import json
import shlex
import socket
import subprocess

import requests

from judge import EVERY_BYTE, HTTP, check, event_name, run, scenario

DEADLINE = 20
BASE = f"http://{HTTP}"


def call(method, path, **options):
    return requests.request(method, f"{BASE}{path}", timeout=DEADLINE, **options)


def registered():
    name = event_name()
    check("registered", call("POST", f"/v1/events/{name}").status_code, 200)
    return name


def curl(line):
    """Runs a line as it stands in a manual, only with this gateway's port."""
    words = shlex.split(line.replace("localhost:8080", HTTP))
    answer = subprocess.run([*words, "-sS", "--fail-with-body"], capture_output=True, timeout=DEADLINE, check=False)
    check(f"{line}: {answer.stdout} {answer.stderr}", answer.returncode, 0)
    return json.loads(answer.stdout or b"{}")


@scenario
def the_seeds_curl_lines():
    curl("curl -X POST http://localhost:8080/v1/events/order.created")
    check("listed", "order.created" in curl("curl http://localhost:8080/v1/events")["events"], True)
    published = curl("""curl -X POST http://localhost:8080/v1/events/order.created/messages
      -H 'Content-Type: application/json'
      -d '{"payload":"eyJpZCI6Im9yZGVyLTEifQ==","metadata":{"source":"api"}}'""")
    check("published", published["id"] != "", True)
    forged = call("POST", "/v1/ack", json={"entries": [{"ack_id": "ack-123"}]})
    check("an ack_id of nobody's", (forged.status_code, forged.json()["code"]), (400, "invalid"))
    health = curl("curl http://localhost:8080/v1/health")
    check("health", (health["status"], health["message"]), ("HEALTH_STATUS_HEALTHY", "ok"))
    stream = subprocess.run(
        ["curl", "-sN", "--max-time", "3", f"{BASE}/v1/events/order.created/stream?start_from=beginning"],
        capture_output=True, timeout=DEADLINE, check=False,
    ).stdout.decode()
    check("preamble", stream.startswith("retry: 5000\n: connected\n\nid: "), True)
    data = json.loads(next(line for line in stream.splitlines() if line.startswith("data: "))[6:])
    check("event", (data["payload"], data["metadata"]), ("eyJpZCI6Im9yZGVyLTEifQ==", {"source": "api"}))


@scenario
def every_way_to_publish():
    event = registered()
    path = f"/v1/events/{event}/messages"
    ways = [
        ({"json": {"payload": base64.b64encode(EVERY_BYTE).decode()}}, EVERY_BYTE),
        ({"json": {"text": "h\u00e9 \U0001f600"}}, "h\u00e9 \U0001f600".encode()),
        ({"data": '{"json": {"b": 1.50, "a": [ ]}}', "headers": {"content-type": "application/json"}}, b'{"b": 1.50, "a": [ ]}'),
        ({"data": EVERY_BYTE, "headers": {"content-type": "image/png"}}, EVERY_BYTE),
        ({"data": b"", "headers": {"content-type": "text/plain"}}, b""),
        ({"json": {"payload": ""}}, b""),
    ]
    for options, _ in ways:
        answer = call("POST", path, **options)
        check(f"{options}: {answer.text}", answer.status_code, 200)
        check("answer", sorted(answer.json()), ["cursor", "duplicate", "id"])
    page = call("GET", f"{path}?limit=4").json()
    rest = call("GET", f"{path}?after={page['next']}").json()
    got = [base64.b64decode(message["payload"]) for message in page["messages"] + rest["messages"]]
    check("read back", got, [payload for _, payload in ways])
    check("content type", page["messages"][3]["contentType"], "image/png")
    twice = [call("POST", path, json={"id": "once", "text": "x"}).json() for _ in range(2)]
    check("deduplicated", [answer["duplicate"] for answer in twice], [False, True])


@scenario
def batches_answer_per_entry():
    event = registered()
    path = f"/v1/events/{event}/messages:batch"
    answer = call("POST", path, json={"messages": [{"text": "0"}, {"payload": "no base64!"}, {"text": "1", "id": "b"}]})
    check("status", answer.status_code, 200)
    results = answer.json()["results"]
    check("three results", len(results), 3)
    check("the bad one alone failed", ["invalid" in json.dumps(result) for result in results], [False, True, False])
    lines = '{"text": "2"}\n\n{"json": {"n": 3}}\nnot json\n'
    answer = call("POST", path, data=lines, headers={"content-type": "application/x-ndjson"})
    check("ndjson", ["invalid" in json.dumps(result) for result in answer.json()["results"]], [False, False, True])
    held = call("GET", f"/v1/events/{event}/messages").json()["messages"]
    check("the rest is there", [base64.b64decode(m["payload"]) for m in held], [b"0", b"1", b"2", b'{"n": 3}'])


def problem(answer, status, code):
    """An answer of the one error table, as RFC 9457 wants it."""
    what = f"{answer.request.method} {answer.request.url[:120]}: {answer.text[:200]}"
    check(what, (answer.status_code, answer.headers["content-type"]), (status, "application/problem+json"))
    body = answer.json()
    check(f"{what}: members", {"type", "title", "status", "detail", "code", "request_id"} <= set(body), True)
    check(f"{what}: values", (body["status"], body["code"]), (status, code))
    check(f"{what}: headers", (answer.headers["busgate-error-kind"], answer.headers["x-request-id"]), (code, body["request_id"]))


@scenario
def bad_input_is_answered_from_the_table():
    event = registered()
    path = f"/v1/events/{event}/messages"
    typed = {"content-type": "application/json"}
    bodies = [b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b'{"payload": 7}', b'{"payload": "%%%"}', b'{"payload": "YQ"}x',
              b'{"text": "\xff"}', b'{"text": "\\ud800"}', b'{"text": "a", "payload": "YQ=="}', b'{"colour": "red", "text": ""}',
              b'{"text": "a", "metadata": {"k": 7}}', b'{"text": "a", "metadata": []}', b'{"text": "a", "id": 99999999999999999999}',
              b'{"json": 1e, "x"}', b"[" * 100_000, b'{"json": ' + b"[" * 5000 + b"}"]
    for body in bodies:
        problem(call("POST", path, data=body, headers=typed), 400, "invalid")
    for name in ("a b", "a..b", ".a", "a.", "%00", "%C3%A9", "*", "a.%3E", "x" * 201, "_dlq.x", "%F0%9F%98%80"):
        answer = call("POST", f"/v1/events/{name}/messages", data=b"x", headers={"content-type": "text/plain"})
        check(f"{name}: {answer.text}", answer.status_code in (400, 403), True)
    problem(call("POST", path, data=bytes(1024 * 1024 + 1), headers={"content-type": "text/plain"}), 413, "too_large")
    problem(call("POST", path, json={"text": "a", "metadata": {str(n): "" for n in range(65)}}), 413, "too_large")
    problem(call("POST", path, json={"text": "a", "deliver_at": "2100-01-01T00:00:00Z"}), 501, "unsupported")
    problem(call("POST", path, json={"text": "a", "ttl": "5s"}), 501, "unsupported")
    problem(call("POST", "/v1/events/nobody.knows/messages", json={"text": "a"}), 404, "not_found")
    for query in ("limit=0", "limit=-1", "limit=99999999999999999999", "limit=ten", "after=%00", "after=not-ours", "start_from=middle",
                  "start_time=yesterday", "colour=red", "limit=1&limit=2", "start_from=%ff"):
        problem(call("GET", f"{path}?{query}"), 400, "invalid")
    check("nothing to settle", call("POST", "/v1/ack", json={"entries": []}).json(), {"results": []})
    for body in ({"entries": [{}]}, {"entries": [{"ack_id": 7}]}, {"entries": [{"ack_id": "forged"}]}, []):
        problem(call("POST", "/v1/ack", json=body), 400, "invalid")
    problem(call("POST", f"/v1/events/{event}", json={"retention_bytes": 0}), 400, "invalid")
    for method, where in (("POST", f"/v1/events/{event}/pull"), ("GET", "/v1/deadletters"), ("POST", "/v1/tickets"),
                          ("POST", "/v1/cloudevents"), ("GET", "/v1/schedules")):
        problem(call(method, where), 501, "unsupported")
    problem(call("GET", "/nowhere"), 404, "not_found")
    check("wrong method", call("PUT", path).status_code in (405, 501), True)
    check("and it lives", call("GET", "/readyz").status_code, 200)


@scenario
def broken_http_hurts_nobody():
    host, port = HTTP.split(":")
    requests_ = [b"\0" * 64, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /%ZZ HTTP/1.1\r\nhost: x\r\n\r\n",
                 b"POST /v1/ack HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
                 b"POST /v1/ack HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
                 b"POST /v1/ack HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
                 b"GET / HTTP/1.1\r\n" + b"x-y: " + b"z" * 1_000_000 + b"\r\n\r\n",
                 b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
                 b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
                 b"GET /v1/events/x/subscribe HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"]
    for request in requests_:
        with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
            try:
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
                answer = connection.recv(65536)
            except OSError:
                answer = b""
            check(f"{request[:40]!r}: {answer[:40]!r}", answer.startswith(b"HTTP/1.1 2"), False)
    check("and it lives", call("GET", "/readyz").status_code, 200)


@scenario
def what_runs_beside():
    check("alive", call("GET", "/healthz").status_code, 200)
    check("ready", call("GET", "/readyz").status_code, 200)
    event = registered()
    call("POST", f"/v1/events/{event}/messages", json={"text": "x"})
    metrics = call("GET", "/metrics")
    check("prometheus text", (metrics.status_code, metrics.headers["content-type"].split(";")[0]), (200, "text/plain"))
    check("of ours", "busgate_" in metrics.text, True)
    document = call("GET", "/openapi.json").json()
    check("OpenAPI 3.1", document["openapi"].startswith("3.1"), True)
    paths = set(document["paths"])
    check("every row that is served", paths >= {"/v1/events", "/v1/events/{name}", "/v1/events/{name}/messages", "/v1/ack",
                                                "/v1/events/{name}/messages:batch", "/v1/events/{name}/stream", "/v1/health"}, True)
    check("and none that is not", [path for path in paths if "pull" in path or "deadletters" in path or "schedules" in path], [])
    check("documentation", call("GET", "/docs").headers["content-type"].split(";")[0], "text/html")
    described = call("GET", f"/v1/events/{event}").json()
    check("one event", described["name"], event)
    check("forgotten", call("DELETE", f"/v1/events/{event}").status_code, 200)
    problem(call("GET", f"/v1/events/{event}"), 404, "not_found")


run()
