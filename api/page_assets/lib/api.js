// Asking the service. The session's cookie goes by itself; what changes something carries the session's token.

export const FINAL = new Set(["succeeded", "failed", "cancelled"]);
const PATIENCE = 2000;

/** An answer that is no success, as the service tells it (RFC 9457). */
export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || `The service answered with status ${status}.`);
    this.status = status;
    this.code = document.code;
    this.errors = document.errors || [];
    this.requestId = document.request_id;
  }
}

const PASSING = new Set([429, 502, 503, 504]);

/** Whether asking again later may help: nobody answers, or not now. */
export const passes = (error) => error.name !== "AbortError" && (!(error instanceof Problem) || PASSING.has(error.status));

/** Who is signed in; `link` tells "up" and "down" of the service, and "ended" of the session. */
export let session = { active: false };
export const link = new EventTarget();
export const may = (scope) => Boolean(session.scopes?.some((mine) => mine === scope || mine === "admin"));
let up = true;

function linkIs(now) {
  if (now === up) return;
  up = now;
  link.dispatchEvent(new Event(now ? "up" : "down"));
}

export function sessionHeaders() {
  return session.csrf_token ? { "X-CSRF-Token": session.csrf_token } : {};
}

/** The problem in a failed answer; says so if the session is over. */
export function problemOf(status, text) {
  let document = {};
  try {
    document = JSON.parse(text);
  } catch {
    // a proxy's page, say
  }
  if (status === 401 && session.active) {
    session = { active: false };
    link.dispatchEvent(new Event("ended"));
  }
  return new Problem(status, document);
}

/** Ask once; give the response.
 *  Throws Problem for what is no success, TypeError if nobody answers. */
export async function ask(path, { method = "GET", body, headers = {}, signal } = {}) {
  const options = { method, signal, headers: { ...headers } };
  if (method !== "GET") Object.assign(options.headers, sessionHeaders());
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name !== "AbortError") linkIs(false);
    throw error;
  }
  linkIs(response.status !== 503);
  if (!response.ok) throw problemOf(response.status, await response.text());
  return response;
}

export const get = async (path, options) => (await ask(path, options)).json();

/** Like `get`, and asks again while the service is away. */
export async function getPatiently(path, options = {}) {
  for (;;) {
    try {
      return await get(path, options);
    } catch (error) {
      if (!passes(error)) throw error;
    }
    await pause(PATIENCE, options.signal);
  }
}

export const pause = (milliseconds, signal) =>
  new Promise((resolve, reject) => {
    setTimeout(() => (signal?.aborted ? reject(new DOMException("left", "AbortError")) : resolve()), milliseconds);
  });

export async function post(path, body, options = {}) {
  return (await ask(path, { method: "POST", body, ...options })).json();
}

export const remove = (path) => ask(path, { method: "DELETE" });

/** A new random key: a creating request that carries it can be repeated without making two. */
export const randomKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

export function query(values) {
  const found = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") found.append(name, one);
    }
  }
  const text = found.toString();
  return text ? `?${text}` : "";
}

/** Every entry of a list, page by page, at most `most`. */
export async function all(path, values = {}, { most = 500, signal } = {}) {
  const found = [];
  let after;
  for (;;) {
    const page = await getPatiently(path + query({ ...values, limit: 100, after }), { signal });
    found.push(...page.data);
    if (!page.has_more || found.length >= most) return found;
    after = page.data.at(-1).id;
  }
}

export async function findSession() {
  session = await getPatiently("/v1/session");
  return session;
}

export async function signIn(key) {
  session = await post("/v1/session", { key });
}

export async function signOut() {
  try {
    await remove("/v1/session");
  } finally {
    session = { active: false };
    link.dispatchEvent(new Event("ended"));
  }
}
