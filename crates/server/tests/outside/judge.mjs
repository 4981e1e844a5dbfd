// What the Node clients share: packages from the tools folder, checks that are counted, one scenario a run.
//
// A script is started as `script.mjs SCENARIO` with BUSGATE_HTTP, BUSGATE_NODE (the folder of the packages),
// BUSGATE_VECTORS and BUSGATE_SCRATCH set. It ends with the line `N checks` or with an error.

import { randomBytes } from "node:crypto";
import { createRequire } from "node:module";
import { isDeepStrictEqual } from "node:util";

export const require = createRequire(`${process.env.BUSGATE_NODE}/`);
export const http = process.env.BUSGATE_HTTP;

let checks = 0;

// One thing that must be so.
export function check(what, got, want) {
  checks += 1;
  if (!isDeepStrictEqual(got, want)) {
    throw new Error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
  }
}

export const eventName = () => `outside.e${randomBytes(4).toString("hex")}`;

// A call that must succeed, answered with JSON.
export async function call(method, path, body, headers = {}) {
  const answer = await fetch(`http://${http}${path}`, { method, body, headers });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : {};
}

export async function registered() {
  const name = eventName();
  await call("POST", `/v1/events/${name}`);
  return name;
}

// Publishes bytes as they are.
export const publish = (event, bytes, headers = {}) =>
  call("POST", `/v1/events/${event}/messages`, bytes, { "content-type": "application/octet-stream", ...headers });

export async function ack(...ids) {
  const entries = ids.map((ack_id) => ({ ack_id }));
  const answer = await call("POST", "/v1/ack", JSON.stringify({ entries }), { "content-type": "application/json" });
  return answer.results.map((result) => result.status);
}

export const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// Runs the scenario named on the command line; one that hangs is a failure.
export async function run(scenarios) {
  const hung = setTimeout(() => {
    console.error("the scenario hangs");
    process.exit(2);
  }, 40_000);
  await scenarios[process.argv[2]]();
  clearTimeout(hung);
  console.log(`${checks} checks`);
  process.exit(0);
}
