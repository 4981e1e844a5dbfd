// Chromium's own EventSource and WebSocket, driven by playwright-core.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { judge, vectors } from "./hostile.mjs";
import { check, http, publish, registered, require, run } from "./judge.mjs";

const { chromium } = require("playwright-core");

// A page of the gateway's own origin, in a browser with a profile of its own.
async function browse(path, visit) {
  const context = await chromium.launchPersistentContext(join(process.env.BUSGATE_SCRATCH, "profile"), {
    executablePath: process.env.BUSGATE_CHROMIUM,
    headless: true,
    viewport: { width: 1280, height: 800 },
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
  try {
    const page = await context.newPage();
    await page.goto(`http://${http}${path}`);
    await visit(page);
  } finally {
    await context.close();
  }
}

// In the page: the first `count` messages of a stream; whatever comes beside them is a forgery.
function read({ path, count }) {
  return new Promise((done, failed) => {
    const got = [];
    const source = new EventSource(path);
    source.addEventListener("message", ({ data, lastEventId }) => {
      got.push({ data, lastEventId });
      if (got.length < count) return;
      source.close();
      done(got);
    });
    for (const type of ["error", "gap"]) {
      source.addEventListener(type, (event) => failed(new Error(`${type}: ${event.data}`)));
    }
  });
}

async function event_source_reads_hostile_payloads() {
  const event = await registered();
  const cursors = [];
  for (const { bytes } of vectors) cursors.push((await publish(event, bytes)).cursor);
  await browse("/healthz", async (page) => {
    for (const encoding of ["base64", "text", "json"]) {
      const path = `/v1/events/${event}/stream?start_from=beginning&encoding=${encoding}`;
      const got = await page.evaluate(read, { path, count: vectors.length });
      check(`ids of ${encoding}`, got.map((e) => e.lastEventId), cursors);
      vectors.forEach((vector, n) => judge(encoding, vector, got[n].data));
    }
  });
}

// In the page: takes messages until `last`, refuses the first delivery of each and acks the second.
function work({ path, last }) {
  return new Promise((done, failed) => {
    const got = [];
    const socket = new WebSocket(path);
    socket.onerror = () => failed(new Error("the socket failed"));
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      if (frame.type !== "message") return;
      got.push([frame.payload, frame.retry_count ?? 0]);
      const again = frame.retry_count ? {} : { error: "once more", retry_after_ms: 10 };
      socket.send(JSON.stringify({ type: "ack", ack_id: frame.ack_id, ...again }));
      if (got.length === last) done(got);
    };
  });
}

async function web_socket_settles() {
  const event = await registered();
  for (const text of ["a", "b"]) await publish(event, text);
  await browse("/healthz", async (page) => {
    const path = `/v1/events/${event}/subscribe?delivery_mode=worker_pool&encoding=text&start_from=beginning`;
    const got = await page.evaluate(work, { path, last: 4 });
    check("each twice", got.sort(), [["a", 0], ["a", 1], ["b", 0], ["b", 1]]);
  });
}

await run({ event_source_reads_hostile_payloads, web_socket_settles });
