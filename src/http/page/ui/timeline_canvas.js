// Draws the lanes of a timeline into a canvas. Calls that share a pixel are drawn together, by how much of the pixel they cover, so the
// work is bounded by the pixels and the calls. Only the lanes that are visible are drawn.

import { SPAN, isFailed, share } from "./timeline_data.js";

export const AXIS = 18; // pixels for the times at the top
const SHADES = 4;

/** The colours of the page, which are different in the dark. */
export function palette(element) {
  const style = getComputedStyle(element);
  const names = ["text", "quiet", "line", "accent", "running", "bad", "page"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** Draws the lanes `first` to `last` of `view`: `{lanes, laneHeight, gutter, width, height, top, now}`. */
export function draw(canvas, view, colors) {
  const scale = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(view.width * scale), Math.round(view.height * scale)];
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, view.width, view.height);
  drawGrid(pen, view, colors);
  const first = Math.max(0, Math.floor(view.top / view.laneHeight));
  const last = Math.min(view.lanes.length, Math.ceil((view.top + view.height - AXIS) / view.laneHeight));
  for (let index = first; index < last; index += 1) drawLane(pen, view, colors, index);
  drawAxis(pen, view, colors);
}

const xOf = (view, time) => view.gutter + ((time - view.now + SPAN) / SPAN) * (view.width - view.gutter);

function drawLane(pen, view, colors, index) {
  const lane = view.lanes[index];
  const y = AXIS + index * view.laneHeight - view.top;
  const every = Math.ceil(12 / view.laneHeight);
  pen.fillStyle = colors.line;
  if (view.laneHeight > 12) pen.fillRect(view.gutter, y + view.laneHeight - 1, view.width - view.gutter, 1);
  if (index % every === 0) {
    pen.fillStyle = colors.quiet;
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.fillText(lane.worker, 0, y + Math.max(view.laneHeight, 12) / 2, view.gutter - 6);
  }
  const pixels = coverage(view, lane);
  const inset = view.laneHeight > 12 ? 3 : 1;
  for (const [kind, alpha, from, to] of runs(pixels)) {
    pen.globalAlpha = alpha;
    pen.fillStyle = colors[kind];
    pen.fillRect(view.gutter + from, y + inset, to - from, view.laneHeight - 2 * inset);
  }
  pen.globalAlpha = 1;
  for (const death of lane.deaths) drawDeath(pen, xOf(view, death.at_us), y, view.laneHeight, colors);
}

/** How much of each pixel the calls of a lane cover, and whether one of them failed or still runs. */
function coverage(view, lane) {
  const width = Math.max(1, Math.floor(view.width - view.gutter));
  const [cover, marks] = [new Float32Array(width), new Uint8Array(width)];
  for (const call of lane.calls) {
    const from = Math.max(0, xOf(view, call.from_us) - view.gutter);
    const to = Math.min(width, xOf(view, call.to_us ?? view.now) - view.gutter);
    const mark = isFailed(call) ? 2 : call.to_us === null ? 1 : 0;
    const part = share(call, view.now);
    for (let pixel = Math.floor(from); pixel < to; pixel += 1) {
      cover[pixel] += part * (Math.min(pixel + 1, to) - Math.max(pixel, from));
      if (mark > marks[pixel]) marks[pixel] = mark;
    }
    if (mark === 2 && from < width) marks[Math.floor(from)] = 2; // a failed call is seen, however short it was
  }
  return { cover, marks };
}

/** Neighbouring pixels of one colour and shade. */
function* runs({ cover, marks }) {
  const look = (pixel) => (marks[pixel] === 2 ? 16 + SHADES : cover[pixel] <= 0 ? 0 : marks[pixel] * 8 + Math.min(SHADES, Math.ceil(cover[pixel] * SHADES)));
  let [from, current] = [0, look(0)];
  for (let pixel = 1; pixel <= cover.length; pixel += 1) {
    const next = pixel < cover.length ? look(pixel) : -1;
    if (next === current) continue;
    if (current > 0) yield [["accent", "running", "bad"][current >> 3], 0.25 + 0.75 * ((current & 7) / SHADES), from, pixel];
    [from, current] = [pixel, next];
  }
}

function drawDeath(pen, x, y, height, colors) {
  const [middle, half] = [y + height / 2, Math.min(5, height / 2)];
  pen.fillStyle = colors.page;
  pen.fillRect(x - half - 2, y, 2 * half + 4, height);
  pen.strokeStyle = colors.bad;
  pen.lineWidth = 2;
  pen.beginPath();
  pen.moveTo(x - half, middle - half);
  pen.lineTo(x + half, middle + half);
  pen.moveTo(x + half, middle - half);
  pen.lineTo(x - half, middle + half);
  pen.stroke();
}

/** The times that are marked, in seconds before now. */
const marks = (view) => (view.width - view.gutter < 420 ? [60, 40, 20, 0] : [60, 50, 40, 30, 20, 10, 0]);

/** The lines below the times. */
function drawGrid(pen, view, colors) {
  pen.fillStyle = colors.line;
  for (const ago of marks(view)) pen.fillRect(Math.min(xOf(view, view.now - ago * 1e6), view.width - 1), AXIS - 4, 1, view.height);
}

function drawAxis(pen, view, colors) {
  pen.fillStyle = colors.page;
  pen.fillRect(0, 0, view.width, AXIS - 4);
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  pen.fillStyle = colors.quiet;
  for (const ago of marks(view)) {
    pen.textAlign = ago === 60 ? "left" : ago === 0 ? "right" : "center";
    pen.fillText(ago === 0 ? "now" : `${ago} s ago`, xOf(view, view.now - ago * 1e6), 7);
  }
  pen.textAlign = "left";
}
