// Payloads that framings trip over, and what an event must hold for them.

import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { check } from "./judge.mjs";

export const vectors = JSON.parse(readFileSync(process.env.BUSGATE_VECTORS, "utf8")).map(({ name, base64, repeat = 1 }) => ({
  name,
  bytes: Buffer.concat(Array(repeat).fill(Buffer.from(base64, "base64"))),
}));

// The text of bytes that are UTF-8, `undefined` of others.
function utf8(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

// Whether it is JSON of which no reader refuses a part: its numbers have a double nearby, and surrogates come in pairs.
function isReadable(text) {
  let readable = true;
  try {
    JSON.parse(text, (key, value) => {
      readable &&= key.isWellFormed() && (typeof value !== "string" || value.isWellFormed()) && Math.abs(value) !== Infinity;
      return value;
    });
  } catch {
    return false;
  }
  return readable;
}

// What an event's data must hold for these bytes, checked against what it holds.
export function judge(encoding, { name, bytes }, raw) {
  const frame = JSON.parse(raw);
  const text = utf8(bytes);
  const what = `${name} as ${encoding}`;
  if (encoding === "text" && text !== undefined) {
    check(what, [frame.payload, frame.encoding], [text, undefined]);
  } else if (encoding === "json" && text !== undefined && isReadable(text)) {
    check(what, [frame.data, frame.payload], [JSON.parse(text), undefined]);
    check(`${what}, to the letter`, raw.includes(`"data":${text.replace(/[\r\n]/g, " ").trim()}`), true);
  } else {
    check(what, Buffer.from(frame.payload, "base64").equals(bytes), true);
    check(`${what} says so`, frame.encoding, encoding === "base64" ? undefined : "base64");
  }
  return frame;
}
