// A form that calls a command: a field for each parameter, made from its schema. Values stay JSON texts, so that large numbers keep their
// digits.

import { headerText, path, send } from "./api.js";
import { button, make } from "./dom.js";
import { indented } from "./json_text.js";
import { block, failure } from "./parts.js";
import { limits, resolve, sample, typeText } from "./schema.js";

const SHOWN = 200000; // the characters of an answer that are shown

/** The form of a command, as `GET commands` describes it. */
export function commandForm(app, pool, command) {
  const schema = resolve(command.parameters, command.parameters);
  let fields = fieldsOf(schema);
  const inputs = make("div", { class: "fields" }, ...fields.map((field) => field.element));
  const session = make("input", { autocomplete: "off", spellcheck: "false", maxlength: 256, required: command.needs_session });
  const answer = make("div", { "aria-live": "polite" });
  const call = make("button", { class: "primary" }, "Call");
  const asText = button("Edit as JSON", () => {
    fields = [wholeField(argumentsOf(fields))];
    inputs.replaceChildren(fields[0].element);
    asText.remove();
  });
  const submit = async (event) => {
    event.preventDefault();
    call.disabled = true;
    answer.replaceChildren(...await run(app, pool, command.name, argumentsOf(fields), session.value));
    call.disabled = false;
  };
  return make("form", { class: "try", onsubmit: submit }, make("h2", {}, "Try it"), inputs,
    make("div", { class: "row" }, make("label", {}, command.needs_session ? "Session (required) " : "Session ", session), call, asText), answer);
}

/** The JSON object of the arguments. */
function argumentsOf(fields) {
  const members = fields.map((field) => field.members()).filter((text) => text !== "");
  return `{${members.join(", ")}}`;
}

function fieldsOf(schema) {
  const fields = Object.entries(schema.properties ?? {}).map(([name, property]) => fieldOf(name, property, schema));
  return schema.additionalProperties === false ? fields : [...fields, restField(fields.length > 0)];
}

/** The field of one parameter. */
function fieldOf(name, property, root) {
  const isRequired = (root.required ?? []).includes(name);
  const schema = resolve(property, root);
  const { input, json } = control(schema, sample(property, root));
  const isSent = make("input", { type: "checkbox", "aria-label": `Send ${name}` });
  const use = () => { input.disabled = !isRequired && !isSent.checked; };
  isSent.addEventListener("change", use);
  use();
  const words = [typeText(property, new Map(), root), limits(schema)].filter(Boolean).join(", ");
  const text = property.description ?? schema.description;
  const about = make("span", { class: "quiet" }, "default" in property ? `${words}, default ${JSON.stringify(property.default)}` : words);
  const label = make("label", {}, make("code", {}, name), " ", about, input);
  const element = make("div", { class: "field" }, isRequired ? "" : isSent, label, text ? make("p", { class: "quiet text" }, text) : "");
  return { element, members: () => (input.disabled ? "" : `${JSON.stringify(name)}: ${json()}`) };
}

/** An input for a value, and a function that returns it as JSON. */
function control(schema, value) {
  const choices = schema.enum ?? (schema.type === "boolean" ? [true, false] : null);
  if (choices) {
    const input = make("select", {}, ...choices.map((each) => make("option", { value: JSON.stringify(each) }, JSON.stringify(each))));
    input.value = JSON.stringify(value ?? choices[0]);
    return { input, json: () => input.value };
  }
  if (schema.type === "string") {
    const input = make("input", { autocomplete: "off", spellcheck: "false" });
    input.value = value ?? "";
    return { input, json: () => JSON.stringify(input.value) };
  }
  if (schema.type === "integer" || schema.type === "number") {
    const input = make("input", { autocomplete: "off", inputmode: "decimal" });
    input.value = String(value ?? 0);
    return { input, json: () => input.value.trim() || "null" };
  }
  const input = make("textarea", { rows: 3, spellcheck: "false" });
  input.value = JSON.stringify(value, null, 2);
  return { input, json: () => input.value.trim() || "null" };
}

/** The field for arguments that have no parameter of their own. */
function restField(hasOthers) {
  const text = hasOthers ? "Further arguments as a JSON object" : "Arguments as a JSON object";
  return objectField(text, "{}", 3);
}

const wholeField = (value) => objectField("Arguments as a JSON object", indented(value), 10);

function objectField(label, value, rows) {
  const input = make("textarea", { rows, spellcheck: "false" });
  input.value = value;
  const inner = () => input.value.trim().replace(/^\{|\}$/g, "").trim(); // the server reports what is wrong with it
  return { element: make("div", { class: "field" }, make("label", {}, label, input)), members: inner };
}

/** Calls the command. Returns the elements that show its answer. */
async function run(app, pool, name, body, session) {
  const headers = { "Content-Type": "application/json" };
  if (session) headers[app.sessionHeader] = headerText(session);
  const began = performance.now();
  try {
    const response = await send("POST", path("pools", pool, "call", name), { headers, body });
    const text = await response.text();
    const more = text.length > SHOWN ? `\n... ${text.length - SHOWN} more characters` : "";
    const took = `${Math.round(performance.now() - began)} ms`;
    return [make("p", {}, make("span", { class: "badge good" }, `${response.status}`), ` in ${took}`), block(indented(text.slice(0, SHOWN)) + more, "Answer")];
  } catch (error) {
    const status = error.status ? [make("span", { class: "badge bad" }, `${error.status} ${error.name}`)] : [];
    return [make("p", {}, ...status), failure(error)];
  }
}
