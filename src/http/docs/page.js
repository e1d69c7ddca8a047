// The page `/docs`: shows the commands of openapi.json, and calls them. Names and texts of commands come from workers: they
// are only ever inserted as text. The token is kept in a variable, and nowhere else.

import { byId, make } from "../ui/dom.js";
import { indented, tokens } from "../ui/json_text.js";
import { limits, resolve, sample, target, typeText } from "../ui/schema.js";

const SHOWN = 200000; // the number of characters of an answer that are shown
let token = "";
let api = { paths: {}, tags: [] };

const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});

async function load() {
  let response;
  try {
    response = await fetch("openapi.json", { headers: headers(), cache: "no-store" });
  } catch (error) {
    return say(`The server does not answer (${error.message}). Reload the page when it runs.`);
  }
  byId("access").hidden = response.status !== 401;
  if (response.status === 401) {
    byId("token").focus();
    return say(token ? "The token is wrong." : "");
  }
  if (!response.ok) return say(`openapi.json: ${response.status} ${response.statusText}`);
  api = await response.json();
  say("");
  show();
}

const say = (text) => { byId("notice").textContent = text; };

/** Fills the page. */
function show() {
  byId("version").textContent = `version ${api.info.version}`;
  const calls = Object.entries(api.paths).flatMap(([path, item]) =>
    item.post?.["x-herder-command"] === undefined ? [] : [{ path, operation: item.post }]);
  const pools = api.tags.filter((tag) => tag["x-herder-worker-type"]);
  byId("pools").replaceChildren(...pools.map((tag) => {
    const own = calls.filter(({ operation }) => operation["x-herder-pool"] === tag.name);
    const none = "No worker of this pool has been ready yet, so its commands are unknown. Reload the page later.";
    return make("section", {},
      make("h2", {}, tag.name, make("span", { class: "kind" }, `${tag["x-herder-worker-type"]} pool`)),
      ...(own.length ? own.map((call) => commandBox(call, tag["x-herder-worker-type"])) : [make("p", { class: "quiet" }, none)]));
  }));
  filter();
  openLinked();
}

/** One command: closed, it shows the name and the first line of its text. The rest is created when it is opened. */
function commandBox({ path, operation }, workerType) {
  const name = operation["x-herder-command"];
  const box = make("details", { class: "command", id: `${operation["x-herder-pool"]}/${name}`, "data-name": name },
    make("summary", {}, make("span", { class: "name" }, name), make("span", { class: "quiet" }, operation.summary ?? "")));
  box.addEventListener("toggle", () => {
    if (!box.open) return;
    if (box.children.length === 1) box.append(commandDetails(path, operation, workerType));
    history.replaceState(null, "", `#${encodeURIComponent(box.id)}`);
  });
  return box;
}

function commandDetails(path, operation, workerType) {
  const parameters = operation.requestBody.content["application/json"].schema;
  const result = operation.responses["200"].content["application/json"].schema.properties.result;
  const [given, returned] = [new Map(), new Map()]; // the named types that are mentioned, by their address
  const table = propertyTable(resolve(parameters, api), given);
  const resultText = typeText(target(result, api), returned, api);
  const text = operation.description;
  const error = operation["x-herder-schema-error"];
  return make("div", {},
    ...(text && text !== operation.summary ? [make("p", { class: "text" }, text)] : []),
    ...(error ? [make("p", { class: "bad" }, `The schema is incomplete: ${error}`)] : []),
    make("h3", {}, "Arguments"), table, ...namedTypes(given),
    make("h3", {}, "Result"), make("p", {}, make("code", {}, resultText)), ...namedTypes(returned),
    tryForm(path, operation, workerType));
}

/** The types, and those that they mention: the map grows while it is read. */
function namedTypes(types) {
  const parts = [];
  for (const [address, name] of types) {
    const schema = resolve({ $ref: address }, api);
    parts.push(make("h4", {}, make("code", {}, name)));
    if (schema.description) parts.push(make("p", { class: "text" }, schema.description));
    parts.push(schema.properties ? propertyTable(schema, types) : make("p", {}, make("code", {}, typeText(schema, types, api))));
  }
  return parts;
}

function propertyTable(schema, types) {
  const entries = Object.entries(schema.properties ?? {});
  const more = schema.additionalProperties;
  if (more && typeof more === "object") entries.push(["any other name", more]);
  if (!entries.length) return make("p", { class: "quiet" }, more === false ? "none" : "any");
  const required = schema.required ?? [];
  const row = ([name, property]) => make("tr", {},
    make("td", {}, make("code", {}, name)),
    make("td", {}, make("code", {}, typeText(property, types, api)), ...limitsOf(property)),
    make("td", { class: "default" }, defaultText(property, required.includes(name) || name === "any other name")),
    make("td", { class: "text" }, property.description ?? ""));
  const described = entries.some(([, property]) => property.description);
  const heading = ["name", "type", "default", described ? "description" : ""].map((text) => make("th", { scope: "col" }, text));
  return make("table", {}, make("thead", {}, make("tr", {}, ...heading)), make("tbody", {}, ...entries.map(row)));
}

function defaultText(property, required) {
  if ("default" in property) return make("code", {}, JSON.stringify(property.default));
  return make("span", { class: "quiet" }, required ? "required" : "optional");
}

/** The constraints of a property. */
function limitsOf(property) {
  const words = limits(property);
  return words ? [" ", make("span", { class: "quiet" }, words)] : [];
}

/** The example for a shell, and the form that sends the same request. */
function tryForm(path, operation, workerType) {
  const parameters = operation.requestBody.content["application/json"].schema;
  const needsSession = operation.parameters.some((parameter) => parameter.name === sessionHeader() && parameter.required);
  const body = make("textarea", { rows: 6, spellcheck: "false", "aria-label": "Arguments as a JSON object" });
  body.value = JSON.stringify(sample({ ...resolve(parameters, api), type: "object" }, api), null, 2);
  body.rows = Math.min(Math.max(body.value.split("\n").length, 3), 20);
  const session = make("input", { autocomplete: "off", spellcheck: "false", maxlength: 256, required: needsSession });
  if (needsSession) session.value = "example";
  const curl = make("pre", {});
  const copied = make("span", { class: "quiet", role: "status" });
  const update = () => { curl.textContent = curlText(path, body.value, session.value); copied.textContent = ""; };
  const copy = async () => {
    await navigator.clipboard?.writeText(curl.textContent);
    copied.textContent = navigator.clipboard ? "copied" : "select the text to copy it";
  };
  const answer = make("div", { "aria-live": "polite" });
  const send = make("button", { class: "send" }, "Send");
  const submit = async (event) => {
    event.preventDefault();
    send.disabled = true;
    answer.replaceChildren(...await call(path, body.value, session.value));
    send.disabled = false;
  };
  const sessionRow = workerType === "enhanced" || needsSession ? [make("label", {}, "Session ", session)] : [];
  update();
  return make("form", { onsubmit: submit, oninput: update },
    make("h3", {}, "In a shell"), curl,
    make("div", { class: "row" }, make("button", { type: "button", onclick: copy }, "Copy"), copied),
    make("h3", {}, "Try it"), body, make("div", { class: "row" }, send, ...sessionRow), answer);
}

/** The header that names the session of a call: the server may use another one than `Herder-Session`. */
const sessionHeader = () => api.components.parameters.Session.name;

/** A text in single quotes for a shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curlText(path, body, session) {
  const parts = [`curl -s ${quoted(new URL(path.slice(1), document.baseURI).href)}`];
  if (api.components.securitySchemes) parts.push('-H "Authorization: Bearer $HERDER_TOKEN"');
  if (session) parts.push(`-H ${quoted(`${sessionHeader()}: ${session}`)}`);
  return [...parts, `-d ${quoted(tokens(body).join("") || "{}")}`].join(" \\\n  ");
}

/** Runs a command, and returns the elements that show its answer. */
async function call(path, body, session) {
  const sent = { ...headers(), "Content-Type": "application/json" };
  // `fetch` takes one character for each byte of a header.
  if (session) sent[sessionHeader()] = Array.from(new TextEncoder().encode(session), (byte) => String.fromCharCode(byte)).join("");
  const began = performance.now();
  try {
    const response = await fetch(path.slice(1), { method: "POST", headers: sent, body, cache: "no-store" });
    const text = await response.text();
    const took = `${Math.round(performance.now() - began)} ms`;
    const status = make("span", { class: response.ok ? "good" : "bad" }, `${response.status} ${response.statusText}`);
    const shown = indented(text.slice(0, SHOWN)) + (text.length > SHOWN ? `\n... ${text.length - SHOWN} more characters` : "");
    return [make("p", {}, status, ` in ${took}`), make("pre", { tabindex: 0 }, shown)];
  } catch (error) {
    return [make("p", { class: "bad" }, `No answer: ${error.message}`)];
  }
}

/** Hides the commands whose names do not contain the text. */
function filter() {
  const wanted = byId("filter").value.toLowerCase();
  for (const box of document.querySelectorAll(".command")) box.hidden = !box.dataset.name.toLowerCase().includes(wanted);
}

/** Opens the command that the address of the page names. */
function openLinked() {
  let id = "";
  try { id = decodeURIComponent(location.hash.slice(1)); } catch { /* not one of our links */ }
  const box = id.includes("/") ? byId(id) : null;
  if (box) { box.open = true; box.scrollIntoView(); }
}

/** Opens openapi.json with the token: a link cannot send it. */
async function openDocument(event) {
  if (!token) return;
  event.preventDefault();
  const response = await fetch("openapi.json", { headers: headers() });
  location.assign(URL.createObjectURL(new Blob([await response.text()], { type: "application/json" })));
}

byId("filter").addEventListener("input", filter);
byId("document").addEventListener("click", openDocument);
byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value;
  byId("token").value = "";
  load();
});
addEventListener("hashchange", openLinked);
load();
