// Creates and changes elements. Names, ids, arguments and log lines come from callers and workers: they are only ever inserted as text.

/** Creates an element. Attributes that start with `on` are listeners; strings among the children become text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Sets the text of an element, if it differs: an unchanged text costs nothing and is not read out again. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows or hides an element. */
export function show(element, isShown) {
  if (element.hidden === isShown) element.hidden = !isShown;
}

/** Sets the class of an element, if it differs. */
export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

/** Marks a button as usable or not. Unlike with `disabled`, it keeps the focus; its listener checks for itself. */
export function enable(element, isUsable) {
  const value = String(!isUsable);
  if (element.getAttribute("aria-disabled") !== value) element.setAttribute("aria-disabled", value);
}

/** A button with a text. */
export const button = (text, onclick, attributes = {}) => make("button", { type: "button", onclick, ...attributes }, text);
