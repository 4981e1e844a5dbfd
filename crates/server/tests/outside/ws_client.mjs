// The `ws` package on both WebSocket endpoints.

import { Buffer } from "node:buffer";
import { ack, call, check, http, pause, publish, registered, require, run } from "./judge.mjs";

const WebSocket = require("ws");
const EVERY_BYTE = Buffer.from(Array.from({ length: 256 }, (_, n) => n));

// A socket whose frames are awaited one by one.
class Socket {
  constructor(path, protocols = []) {
    this.waiting = [];
    this.frames = [];
    this.socket = new WebSocket(`ws://${http}${path}`, protocols);
    this.closed = new Promise((done) => this.socket.on("close", (code, reason) => done([code, reason.toString()])));
    this.opened = new Promise((done, failed) => {
      this.socket.on("open", done);
      this.socket.on("error", failed);
      this.socket.on("unexpected-response", (_, answer) => {
        let body = "";
        answer.on("data", (part) => (body += part));
        answer.on("end", () => failed(Object.assign(new Error("refused"), { status: answer.statusCode, body })));
      });
    });
    this.socket.on("message", (data, binary) => {
      const frame = binary ? data : JSON.parse(data.toString());
      if (frame.type === "heartbeat") return;
      const taker = this.waiting.shift();
      taker ? taker(frame) : this.frames.push(frame);
    });
  }
  next() {
    return this.frames.length ? Promise.resolve(this.frames.shift()) : new Promise((done) => this.waiting.push(done));
  }
  async take(count) {
    const taken = [];
    while (taken.length < count) taken.push(await this.next());
    return taken;
  }
  send(frame) {
    this.socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }
}

async function open(path, protocols) {
  const socket = new Socket(path, protocols);
  await socket.opened;
  return socket;
}

const subscription = (event, query = "") =>
  `/v1/events/${event}/subscribe?delivery_mode=worker_pool&worker_group=w&start_from=beginning${query}`;

async function one_event() {
  const event = await registered();
  const receipt = await publish(event, EVERY_BYTE, { "x-message-id": "m-1", "x-message-key": "k", "x-meta-shop": "7" });
  const socket = await open(subscription(event));
  const frame = await socket.next();
  check("payload", Buffer.from(frame.payload, "base64").equals(EVERY_BYTE), true);
  const { type, id, cursor, key, metadata, content_type, event: name } = frame;
  check("fields", { type, id, cursor, key, metadata, content_type, name }, {
    type: "message", id: "m-1", cursor: receipt.cursor, key: "k", metadata: { shop: "7" },
    content_type: "application/octet-stream", name: event,
  });
  check("first delivery", frame.retry_count ?? 0, 0);
  socket.send({ type: "ack", ack_id: frame.ack_id, error: "not yet", retry_after_ms: 50 });
  const again = await socket.next();
  check("nacked comes back", [again.id, again.retry_count], ["m-1", 1]);
  socket.send({ type: "extend", ack_id: again.ack_id, extend_ms: 60_000 });
  socket.send({ type: "ack", ack_id: again.ack_id });
  for (let n = 0; n < 3; n += 1) await publish(event, `${n}`);
  const three = await socket.take(3);
  check("in order", three.map((f) => atob(f.payload)), ["0", "1", "2"]);
  check("the ack before them was carried out", await ack(again.ack_id), ["stale"]);
  socket.send({ type: "ack", ack_ids: three.map((f) => f.ack_id) });
  await pause(300);
  check("all acked", await ack(...three.map((f) => f.ack_id)), ["stale", "stale", "stale"]);
}

async function resumes() {
  const event = await registered();
  const cursors = [];
  for (const text of ["0", "1", "2"]) cursors.push((await publish(event, text)).cursor);
  const socket = await open(`/v1/events/${event}/subscribe?ack=auto&encoding=text&start_after=${cursors[0]}`);
  check("strictly after", (await socket.take(2)).map((f) => f.payload), ["1", "2"]);
  await publish(event, "3");
  check("and on", (await socket.next()).payload, "3");
}

async function gone_holder_hands_back() {
  const event = await registered();
  await publish(event, "orphan");
  const holder = await open(subscription(event));
  const first = await holder.next();
  const heir = await open(subscription(event));
  const began = Date.now();
  holder.socket.terminate();
  const second = await heir.next();
  check("the same message", second.id, first.id);
  check("long before its lease of 30 s ends", Date.now() - began < 10_000, true);
}

async function many_on_one_socket() {
  const [a, b] = [await registered(), await registered()];
  const socket = await open("/v1/ws", ["busgate.v1.json"]);
  check("subprotocol", socket.socket.protocol, "busgate.v1.json");
  const ask = async (frame) => {
    socket.send(frame);
    return socket.next();
  };
  for (const event of [a, b]) {
    const answer = await ask({ type: "subscribe", ref: `sub-${event}`, event, start_from: "beginning", encoding: "text" });
    check("subscribed", [answer.type, answer.ref], ["ok", `sub-${event}`]);
  }
  check("ping", await ask({ type: "ping", ref: "p" }).then((f) => [f.type, f.ref]), ["ok", "p"]);
  socket.send({ type: "publish", ref: "1", event: a, text: "to a" });
  const frames = await socket.take(2);
  const [message, ok] = [frames.find((f) => f.type === "message"), frames.find((f) => f.type === "ok")];
  check("published", [ok.ref, message.sub, message.payload, message.event], ["1", `sub-${a}`, "to a", a]);
  check("known event only", await ask({ type: "publish", ref: "2", event: "not a name", text: "" })
    .then((f) => [f.type, f.ref, f.code]), ["error", "2", "invalid"]);
  check("unsubscribed", await ask({ type: "unsubscribe", ref: "3", sub: `sub-${a}` }).then((f) => [f.type, f.ref]), ["ok", "3"]);
  await publish(a, "to nobody");
  await publish(b, "to b");
  const last = await socket.next();
  check("the other goes on", [last.sub, last.payload], [`sub-${b}`, "to b"]);
}

async function bad_queries_are_refused() {
  const event = await registered();
  const queries = ["delivery_mode=everyone", "start_from=middle", "encoding=hex", "ack=maybe", "max_in_flight=-1",
    "max_in_flight=99999999999999999999", "colour=red", "start_after=%00", "latest_only=perhaps", "max_age=soon"];
  for (const query of queries) {
    const refused = await open(`/v1/events/${event}/subscribe?${query}`).catch((error) => error);
    check(query, [refused.status, JSON.parse(refused.body ?? "{}").code], [400, "invalid"]);
  }
  const filter = await open(`/v1/events/${event}/subscribe?filter=x`).catch((error) => error);
  check("filter", [filter.status, JSON.parse(filter.body).code], [501, "unsupported"]);
  const unknown = await open("/v1/events/nobody.knows/subscribe").catch((error) => error);
  check("unknown event", [unknown.status, JSON.parse(unknown.body).code], [404, "not_found"]);
}

async function bad_frames_are_answered() {
  const frames = ["", "{", "[]", "null", "7", '{"type":7}', '{"type":"dance"}', '{"type":"ack"}', '{"type":"ack","ack_id":7}',
    '{"type":"ack","ack_id":"forged"}', '{"type":"extend","ack_id":"forged","extend_ms":-1}',
    `{"type":"ack","ack_id":"x","retry_after_ms":1e400}`, "[".repeat(5000)];
  for (const frame of frames) {
    const socket = await open(subscription(await registered()));
    socket.send(frame);
    // One bad frame is answered by an error frame, or ends the socket with the code of the table.
    const answer = await Promise.race([socket.next(), socket.closed]);
    const invalid = Array.isArray(answer) ? answer[0] === 4400 : answer.type === "error" && answer.code === "invalid";
    check(`${frame.slice(0, 40)}: ${JSON.stringify(answer)}`, invalid, true);
    socket.socket.terminate();
  }
  const big = await open(subscription(await registered()));
  big.send(" ".repeat(64 * 1024 * 1024));
  check("oversize", (await big.closed)[0], 1009);
  const binary = await open(subscription(await registered()));
  binary.socket.send(Buffer.from([1, 2, 3]));
  const answer = await Promise.race([binary.next(), binary.closed]);
  check("binary on a text endpoint", Array.isArray(answer) ? [1003, 4400].includes(answer[0]) : answer.code === "invalid", true);
  check("and it lives", (await call("GET", "/v1/health")).status, "HEALTH_STATUS_HEALTHY");
}

async function unregistering_closes() {
  const event = await registered();
  const socket = await open(subscription(event));
  await call("DELETE", `/v1/events/${event}`);
  check("close code", (await socket.closed)[0], 4410);
}

async function foreign_origins_are_refused() {
  const event = await registered();
  const socket = new WebSocket(`ws://${http}${subscription(event)}`, { origin: "http://evil.example" });
  const status = await new Promise((done) => {
    socket.on("unexpected-response", (_, answer) => done(answer.statusCode));
    socket.on("open", () => done(101));
    socket.on("error", () => {});
  });
  check("status", status, 403);
  const own = new WebSocket(`ws://${http}${subscription(event)}`, { origin: `http://${http}` });
  check("same origin", await new Promise((done, failed) => {
    own.on("open", () => done("open"));
    own.on("error", failed);
  }), "open");
}

await run({ one_event, resumes, gone_holder_hands_back, many_on_one_socket, bad_queries_are_refused,
  bad_frames_are_answered, unregistering_closes, foreign_origins_are_refused });
