"""`httpx-sse` and `sseclient-py` read hostile payloads back byte for byte."""

import base64
import json
import math
import os
import re

import httpx
import httpx_sse
import requests
import sseclient

from judge import HTTP, check, event_name, run, scenario

DEADLINE = 20

with open(os.environ["BUSGATE_VECTORS"], encoding="utf-8") as file:
    VECTORS = [(v["name"], base64.b64decode(v["base64"]) * v.get("repeat", 1)) for v in json.load(file)]


def registered():
    name = event_name()
    requests.post(f"http://{HTTP}/v1/events/{name}", timeout=DEADLINE).raise_for_status()
    return name


def publish(event, payload):
    headers = {"content-type": "application/octet-stream"}
    answer = requests.post(f"http://{HTTP}/v1/events/{event}/messages", data=payload, headers=headers, timeout=DEADLINE)
    answer.raise_for_status()
    return answer.json()["cursor"]


def by_httpx(url, headers):
    """(type, id, data) of each event, as httpx-sse tells them."""
    with httpx.Client(timeout=DEADLINE) as client, httpx_sse.connect_sse(client, "GET", url, headers=headers) as source:
        for event in source.iter_sse():
            # It tells a lone `retry:` as an event without data; by the standard that is none.
            if event.retry is not None and event.data == "":
                continue
            yield event.event, event.id, event.data


def by_sseclient(url, headers):
    """(type, id, data) of each event, as sseclient-py tells them."""
    headers = {"accept": "text/event-stream"} | headers
    with requests.get(url, headers=headers, stream=True, timeout=DEADLINE) as answer:
        for event in sseclient.SSEClient(answer).events():
            yield event.event, event.id, event.data


def messages(reader, event, query, count, **headers):
    """The first `count` messages; whatever comes beside them is a forgery."""
    got = []
    for kind, cursor, data in reader(f"http://{HTTP}/v1/events/{event}/stream?{query}", headers):
        if kind == "heartbeat":
            continue
        check("type", kind, "message")
        got.append((cursor, data))
        if len(got) == count:
            return got
    raise AssertionError(f"the stream ended after {got}")


def utf8(payload):
    """The text of bytes that are UTF-8, None of others."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


def is_readable(text):
    """Whether it is JSON of which no reader refuses a part: its numbers have a double nearby, and surrogates come in pairs."""
    def near(number):
        if math.isinf(float(number)):
            raise ValueError(number)
        return float(number)

    try:
        # Half a pair can't be encoded.
        json.dumps(json.loads(text, parse_float=near), ensure_ascii=False).encode()
        return True
    except ValueError:
        return False


def judge(encoding, name, payload, data):
    frame, text, what = json.loads(data), utf8(payload), f"{name} as {encoding}"
    if encoding == "text" and text is not None:
        check(what, (frame.get("payload"), "encoding" in frame), (text, False))
    elif encoding == "json" and text is not None and is_readable(text):
        check(what, (frame["data"], "payload" in frame), (json.loads(text), False))
        check(f"{what}, to the letter", '"data":' + re.sub("[\r\n]", " ", text).strip() in data, True)
    else:
        check(what, base64.b64decode(frame["payload"]), payload)
        check(f"{what} says so", frame.get("encoding"), None if encoding == "base64" else "base64")


def hostile_payloads(reader):
    event = registered()
    cursors = [publish(event, payload) for _, payload in VECTORS]
    for encoding in ("base64", "text", "json"):
        got = messages(reader, event, f"start_from=beginning&encoding={encoding}", len(VECTORS))
        check(f"ids of {encoding}", [cursor for cursor, _ in got], cursors)
        for (name, payload), (_, data) in zip(VECTORS, got, strict=True):
            judge(encoding, name, payload, data)
    rest = messages(reader, event, "start_from=beginning", 3, **{"last-event-id": cursors[-4]})
    check("resumed strictly after", [cursor for cursor, _ in rest], cursors[-3:])


@scenario
def read_by_httpx_sse():
    hostile_payloads(by_httpx)


@scenario
def read_by_sseclient_py():
    hostile_payloads(by_sseclient)


run()
