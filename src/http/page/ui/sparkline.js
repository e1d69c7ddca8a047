// A small line of the last values of a figure. The values outlive the views, so that a line has a past when its view opens.

const NAMESPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, KEPT] = [80, 20, 48];
const recorded = new Map(); // name -> the last values

/** Adds a value of a figure. */
export function record(name, value) {
  const values = valuesOf(name);
  values.push(value ?? 0);
  if (values.length > KEPT) values.shift();
}

function valuesOf(name) {
  if (!recorded.has(name)) recorded.set(name, []);
  return recorded.get(name);
}

/** Creates an element of SVG. */
function svg(tag, attributes, ...children) {
  const element = document.createElementNS(NAMESPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The line of a figure. `draw` shows what was recorded meanwhile. */
export class Sparkline {
  #values;
  #line = svg("polyline", { class: "spark-line", points: "" });
  #area = svg("polygon", { class: "spark-area", points: "" });

  constructor(name) {
    this.#values = valuesOf(name);
    const size = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT };
    this.element = svg("svg", { class: "spark", ...size, "aria-hidden": "true", focusable: "false" },
      svg("line", { class: "spark-base", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }), this.#area, this.#line);
    this.draw();
  }

  draw() {
    if (this.#values.length < 2) return;
    const top = Math.max(...this.#values, 1e-9);
    const x = (index) => WIDTH - (this.#values.length - 1 - index) * (WIDTH / (KEPT - 1));
    const y = (value) => HEIGHT - 2 - (value / top) * (HEIGHT - 4);
    const points = this.#values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    this.#line.setAttribute("points", points);
    this.#area.setAttribute("points", `${x(0).toFixed(1)},${HEIGHT} ${points} ${WIDTH},${HEIGHT}`);
  }
}
