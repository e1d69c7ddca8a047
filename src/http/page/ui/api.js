// Requests to the server of this page. The token is kept in a variable of this file, and nowhere else.

let token = "";

export const setToken = (text) => { token = text; };
export const hasToken = () => token !== "";

/** An answer that is not a success. `name` is the last part of the problem's type. */
export class Problem extends Error {
  constructor(status, document, text) {
    super(document?.detail ?? text ?? `status ${status}`);
    this.status = status;
    this.name = String(document?.type ?? "").split("/").pop();
  }
}

/** The server did not answer. */
export class NoAnswer extends Error {}

/** The path of a route. Browsers remove the parts `.` and `..` from a path, even if they are escaped. */
export function path(...parts) {
  if (parts.some((part) => part === "." || part === "..")) throw new Problem(0, null, "a browser cannot send a path with `.` or `..`; use `herder` or curl");
  return ["v1", ...parts.map((part) => encodeURIComponent(part))].join("/");
}

/** Sends a request. Returns the response if it is a success, else throws a `Problem`; without any answer, `NoAnswer`. */
export async function send(method, address, { headers = {}, body, signal } = {}) {
  const sent = { ...headers };
  if (token) sent.Authorization = `Bearer ${token}`;
  const response = await fetch(address, { method, headers: sent, body, signal, cache: "no-store", credentials: "omit", redirect: "error" })
    .catch((error) => { throw signal?.aborted ? error : new NoAnswer(`The server does not answer: ${error.message}`); });
  if (response.ok) return response;
  const text = await response.text();
  let problem = null;
  try { problem = JSON.parse(text); } catch { /* a proxy answered */ }
  throw new Problem(response.status, problem, `${response.status} ${response.statusText}`);
}

export const get = async (address, signal) => (await send("GET", address, { signal })).json();

/** Like `get`, but null if the server has no such route or thing. */
export async function find(address, signal) {
  try {
    return await get(address, signal);
  } catch (error) {
    if (error instanceof Problem && [404, 405].includes(error.status)) return null;
    throw error;
  }
}

/** Text for a header: `fetch` takes one character for each byte. */
export const headerText = (text) => Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
