// The `eventsource` package reads hostile payloads back byte for byte.

import { judge, vectors } from "./hostile.mjs";
import { call, check, http, publish, registered, require, run } from "./judge.mjs";

const { EventSource } = require("eventsource");

// The first `count` events of a stream; whatever comes beside them is a forgery.
function events(path, count, headers = {}) {
  return new Promise((done, failed) => {
    const got = [];
    const source = new EventSource(`http://${http}${path}`, {
      fetch: (url, init) => fetch(url, { ...init, headers: { ...init.headers, ...headers } }),
    });
    const end = (outcome) => {
      source.close();
      outcome instanceof Error ? failed(outcome) : done(outcome);
    };
    source.addEventListener("message", (event) => {
      got.push(event);
      if (got.length === count) end(got);
    });
    source.addEventListener("error", (event) => end(new Error(`error event: ${event.message ?? event.data}`)));
    source.addEventListener("gap", (event) => end(new Error(`gap: ${event.data}`)));
  });
}

async function hostile_payloads() {
  const event = await registered();
  const cursors = [];
  for (const { bytes } of vectors) cursors.push((await publish(event, bytes)).cursor);
  for (const encoding of ["base64", "text", "json"]) {
    const got = await events(`/v1/events/${event}/stream?start_from=beginning&encoding=${encoding}`, vectors.length);
    check(`ids of ${encoding}`, got.map((e) => e.lastEventId), cursors);
    vectors.forEach((vector, n) => judge(encoding, vector, got[n].data));
  }
}

async function hostile_names() {
  const event = await registered();
  const metadata = { "line\r\n\ndata: x": "a\n\nid: 1\r\n", "\u2028\u0085": "\u0000\u001b", "\ufeff": "\ufeff", "__proto__x": "\\\"" };
  const body = { text: "x", key: "k\n\ndata: forged\r\n\u0085", metadata };
  await call("POST", `/v1/events/${event}/messages`, JSON.stringify(body), { "content-type": "application/json" });
  const [got] = await events(`/v1/events/${event}/stream?start_from=beginning`, 1);
  const frame = JSON.parse(got.data);
  check("metadata", frame.metadata, metadata);
  check("key", frame.key, body.key);
}

async function resumes_by_last_event_id() {
  const event = await registered();
  const cursors = [];
  for (const text of ["0", "1", "2", "3"]) cursors.push((await publish(event, text)).cursor);
  const path = `/v1/events/${event}/stream?encoding=text&start_from=beginning`;
  const got = await events(path, 2, { "Last-Event-ID": cursors[1] });
  check("strictly after", got.map((e) => JSON.parse(e.data).payload), ["2", "3"]);
  const live = events(path, 3, { "Last-Event-ID": cursors[1] });
  await publish(event, "4");
  check("and on", (await live).map((e) => JSON.parse(e.data).payload), ["2", "3", "4"]);
}

await run({ hostile_payloads, hostile_names, resumes_by_last_event_id });
