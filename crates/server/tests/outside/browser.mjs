// Chromium's own EventSource and WebSocket, driven by playwright-core.

import { mkdirSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { judge, vectors } from "./hostile.mjs";
import { check, http, pause, publish, registered, require, run } from "./judge.mjs";

const { chromium } = require("playwright-core");

// A page of the gateway's own origin, in a browser with a profile of its own.
async function browse(path, visit, host = http) {
  const context = await chromium.launchPersistentContext(join(process.env.BUSGATE_SCRATCH, "profile"), {
    executablePath: process.env.BUSGATE_CHROMIUM,
    headless: true,
    viewport: { width: 1280, height: 800 },
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync"],
  });
  try {
    const page = await context.newPage();
    await page.goto(`http://${host}${path}`);
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

// A proxy whose connections can be cut.
async function proxy() {
  const [host, port] = http.split(":");
  const sockets = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(Number(port), host);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("close", () => [near, far].forEach((end) => end.destroy()));
      socket.on("error", () => {});
    }
    near.pipe(far).pipe(near);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const cut = () => {
    sockets.forEach((socket) => socket.destroy());
    sockets.clear();
  };
  return { address: `127.0.0.1:${server.address().port}`, cut };
}

async function event_source_resumes_by_itself() {
  const event = await registered();
  const { address, cut } = await proxy();
  await browse("/healthz", async (page) => {
    await page.evaluate((path) => {
      window.got = [];
      const source = new EventSource(path);
      source.addEventListener("message", ({ data }) => window.got.push(JSON.parse(data).payload));
      return new Promise((done) => source.addEventListener("open", done));
    }, `/v1/events/${event}/stream?encoding=text`);
    await publish(event, "0");
    await publish(event, "1");
    await page.waitForFunction(() => window.got.length === 2);
    cut();
    for (const text of ["2", "3"]) await publish(event, text);
    await page.waitForFunction(() => window.got.length >= 4, null, { timeout: 20_000 });
    await publish(event, "4");
    await page.waitForFunction(() => window.got.length >= 5);
    await pause(300);
    check("no hole, no duplicate", await page.evaluate(() => window.got), ["0", "1", "2", "3", "4"]);
  }, address);
}

async function dashboard() {
  await browse("/", async (page) => {
    const text = (selector) => page.locator(selector).first().textContent();
    await page.waitForFunction(() => ["source", "socket"].every((id) => document.getElementById(id).textContent === "open"));
    await page.waitForFunction(() => document.querySelectorAll("#stream li").length >= 2);
    check("figures", await page.locator(".figure").count(), 5);
    const job = `<b>wash</b> & "wax" \u{1f697}`;
    await page.fill("input", job);
    await page.click("#publish button");
    await page.waitForSelector("#jobs li");
    check("the job as it was written", await text("#jobs li code"), job);
    await page.click("#jobs li >> text=nack");
    await page.waitForFunction(() => document.querySelectorAll("#jobs li").length === 2);
    check("it came back", await text("#jobs li code"), `${job} (try 2)`);
    await page.locator("#jobs li").first().getByRole("button", { name: "ack", exact: true }).click();
    check("settled", await page.locator("#jobs li").first().innerText().then((line) => line.includes("done")), true);
    await page.waitForFunction(() => JSON.parse(document.querySelector("#stream li code").textContent).acked >= 1);
    mkdirSync(process.env.BUSGATE_SHOTS, { recursive: true });
    await page.screenshot({ path: join(process.env.BUSGATE_SHOTS, "dashboard.png") });
  });
}

await run({ event_source_reads_hostile_payloads, event_source_resumes_by_itself, web_socket_settles, dashboard });
