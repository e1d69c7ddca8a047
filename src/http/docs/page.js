// The page `/docs`: shows the commands of openapi.json, and calls them. Names and texts of commands come from workers: they
// are only ever inserted as text. The token is kept in a variable, and nowhere else.
"use strict";

const SHOWN = 200000; // the number of characters of an answer that are shown
let token = "";
let api = { paths: {}, tags: [] };

const byId = (id) => document.getElementById(id);

/** Creates an element. Strings among the children become text. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

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
  const table = propertyTable(resolve(parameters), given);
  const resultText = typeText(target(result), returned);
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
    const schema = resolve({ $ref: address });
    parts.push(make("h4", {}, make("code", {}, name)));
    if (schema.description) parts.push(make("p", { class: "text" }, schema.description));
    parts.push(schema.properties ? propertyTable(schema, types) : make("p", {}, make("code", {}, typeText(schema, types))));
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
    make("td", {}, make("code", {}, typeText(property, types)), ...limits(property)),
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

/** The constraints of a schema in words. */
function limits(schema) {
  const words = {
    minimum: "at least", maximum: "at most", exclusiveMinimum: "greater than", exclusiveMaximum: "less than", multipleOf: "a multiple of",
    minLength: "shortest", maxLength: "longest", minItems: "fewest items", maxItems: "most items", pattern: "matches",
  };
  const isSaid = (key) => key in schema && !(key === "pattern" && schema.format); // the format says it better
  const found = Object.keys(words).filter(isSaid).map((key) => `${words[key]} ${schema[key]}`);
  return found.length ? [" ", make("span", { class: "quiet" }, found.join(", "))] : [];
}

/** Follows one reference. */
function target(schema) {
  if (typeof schema?.$ref !== "string") return schema;
  const path = schema.$ref.split("/").slice(1).map((part) => decodeURIComponent(part).replace(/~1/g, "/").replace(/~0/g, "~"));
  return path.reduce((value, part) => value?.[part], api);
}

/** Follows references to their end. */
function resolve(schema) {
  for (let step = 0; step < 20 && typeof schema?.$ref === "string"; step++) schema = target(schema);
  return schema && typeof schema === "object" ? schema : {};
}

/** A schema as a short type. Named types are added to `types`, if they are more than a short type themselves. */
function typeText(schema, types) {
  if (!schema || typeof schema !== "object") return "any";
  const list = (schemas, between) => [...new Set(schemas.map((item) => typeText(item, types)))].join(between);
  if (schema.$ref) {
    const named = resolve(schema);
    const isShort = !["properties", "anyOf", "oneOf", "allOf", "items", "prefixItems"].some((key) => key in named);
    if (isShort && typeof named.additionalProperties !== "object") return typeText(named, types);
    const name = named.title ?? decodeURIComponent(schema.$ref.split("/").pop());
    types.set(schema.$ref, name);
    return name;
  }
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf ?? schema.oneOf) return list(schema.anyOf ?? schema.oneOf, " | ");
  if (schema.allOf) return list(schema.allOf, " & ");
  if (Array.isArray(schema.type)) return list(schema.type.map((type) => ({ ...schema, type })), " | ");
  if (schema.type === "array") {
    if (schema.prefixItems) return `[${schema.prefixItems.map((item) => typeText(item, types)).join(", ")}]`;
    return schema.items ? `array of ${typeText(schema.items, types)}` : "array";
  }
  if (schema.type === "object" && typeof schema.additionalProperties === "object") {
    return `object of ${typeText(schema.additionalProperties, types)}`;
  }
  const format = schema.format ?? (schema.contentEncoding && `in ${schema.contentEncoding}`);
  return format ? `${schema.type ?? "any"} (${format})` : schema.type ?? "any";
}

const TEXTS = {
  "date-time": "2026-01-31T08:40:00Z", date: "2026-01-31", time: "08:40:00Z", duration: "PT90S", email: "ann@example.org",
  decimal: "1.50", uuid: "6f1c2d9e-3b47-4b52-9c1a-0d3c5a7e8f10", uri: "https://example.org/", ipv4: "192.0.2.1", ipv6: "2001:db8::1",
};

/** A value that the schema probably accepts. */
function sample(schema, depth = 0) {
  schema = resolve(schema);
  if (schema.examples?.length) return schema.examples[0];
  if ("default" in schema) return schema.default;
  if ("const" in schema) return schema.const;
  if (schema.enum) return schema.enum[0];
  const choices = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (choices) return depth > 6 ? null : sample(choices[0], depth + 1);
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case "integer": case "number": return sampleNumber(schema);
    case "string":
      return TEXTS[schema.format] ?? (schema.contentEncoding === "base64" ? "aGVsbG8=" : "text".padEnd(schema.minLength ?? 0, "x").slice(0, schema.maxLength));
    case "boolean": return true;
    case "array": {
      if (schema.prefixItems) return schema.prefixItems.map((item) => sample(item, depth + 1));
      return depth > 4 && !schema.minItems ? [] : Array(Math.min(schema.minItems || 1, 10)).fill(sample(schema.items ?? {}, depth + 1));
    }
    case "object": {
      const names = (schema.required ?? []).filter((name) => depth < 7 && name in (schema.properties ?? {}));
      return Object.fromEntries(names.map((name) => [name, sample(schema.properties[name], depth + 1)]));
    }
    default: return null;
  }
}

function sampleNumber({ type, minimum, exclusiveMinimum, maximum, exclusiveMaximum, multipleOf }) {
  const step = multipleOf ?? 1;
  const least = Math.max(minimum ?? -Infinity, exclusiveMinimum === undefined ? -Infinity : exclusiveMinimum + step);
  const most = Math.min(maximum ?? Infinity, exclusiveMaximum === undefined ? Infinity : exclusiveMaximum - step);
  const wanted = Math.min(Math.max(step, least), most);
  return type === "integer" ? Math.round(wanted) : wanted;
}

/** The example for a shell, and the form that sends the same request. */
function tryForm(path, operation, workerType) {
  const parameters = operation.requestBody.content["application/json"].schema;
  const needsSession = operation.parameters.some((parameter) => parameter.name === sessionHeader() && parameter.required);
  const body = make("textarea", { rows: 6, spellcheck: "false", "aria-label": "Arguments as a JSON object" });
  body.value = JSON.stringify(sample({ ...resolve(parameters), type: "object" }), null, 2);
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

/** The tokens of a JSON text. Texts are changed token by token, because parsing would change numbers of more than 15 digits. */
const tokens = (text) => text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+|"/g) ?? [];

/** JSON with indentation. */
function indented(text) {
  let depth = 0;
  let out = "";
  let last = "";
  const line = () => `\n${"  ".repeat(Math.max(depth, 0))}`;
  for (const part of tokens(text)) {
    const opened = last === "{" || last === "[";
    if (part === "}" || part === "]") {
      depth -= 1;
      out += opened ? part : line() + part;
    } else {
      if (opened) out += line();
      if (part === "{" || part === "[") depth += 1;
      out += part === "," ? part + line() : part === ":" ? ": " : part;
    }
    last = part;
  }
  return out;
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
