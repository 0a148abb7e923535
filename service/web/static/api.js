// Requests to the API of this server, relative to the page, so that they work under any path prefix.

import { T } from "./text.js";

/** Error of the API (RFC 9457), or no response. */
export class Problem extends Error {
  constructor({ title, detail, status = 0, type = "", retryAfter = null, members = {} }) {
    super(detail);
    this.title = title;
    this.status = status;
    this.name = type.split(":").pop();
    this.retryAfter = retryAfter;
    this.members = members;
  }
}

let key = null; // in memory only
let askForKey = async () => null;
let asked = null;

/** Set the function that asks for an API key: maps the refusal's message to a key or null. */
export function whenKeyNeeded(ask) {
  askForKey = ask;
}

/** Forget the key. */
export function forgetKey() {
  key = null;
}

export const hasKey = () => key !== null;

/** Return the response to a request. Throws Problem unless the status is 2xx. */
export async function send(path, options = {}) {
  for (;;) {
    const used = key;
    const headers = { ...options.headers, ...(used === null ? {} : { "X-API-Key": used }) };
    const response = await fetch(path, { ...options, headers }).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new Problem({ title: T.gone.title, detail: T.gone.detail(location.host) });
    });
    if (response.ok) return response;
    const problem = await problemOf(response);
    if (response.status !== 401) throw problem;
    if (used === key) {
      asked ??= askForKey(problem.message, used !== null).finally(() => (asked = null));
      const given = await asked;
      if (given === null) throw problem;
      key = given;
    }
  }
}

/** Return the JSON document of a response. */
export async function get(path, options = {}) {
  return (await send(path, options)).json();
}

/** Post a picture and return the JSON document. */
export async function post(path, picture, signal) {
  const type = picture.blob.type || "application/octet-stream";
  return get(path, { method: "POST", body: picture.blob, headers: { "Content-Type": type }, signal });
}

async function problemOf(response) {
  const { status } = response;
  const wait = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const found = await response.json().catch(() => ({}));
  return new Problem({
    title: found.title ?? T.refused.title(status),
    detail: found.detail ?? T.refused.detail(status),
    status,
    type: found.type,
    retryAfter: Number.isNaN(wait) ? null : wait,
    members: found,
  });
}

/** Return a URL with the parameters that have a value. */
export function address(path, parameters = {}) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString().replaceAll("%2C", ",");
  return query ? `${path}?${query}` : path;
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

/** Return the curl command of the same request; a key is a shell variable, never shown. */
export function curl(path, picture = null) {
  const parts = ["curl"];
  if (key !== null) parts.push('-H "X-API-Key: $POSBAKE_KEY"');
  if (picture !== null) {
    parts.push(`-H ${quoted(`Content-Type: ${picture.blob.type || "application/octet-stream"}`)}`);
    parts.push(`--data-binary ${quoted(`@${picture.name}`)}`);
  }
  parts.push(quoted(new URL(path, document.baseURI).href));
  return parts.join(" ");
}
