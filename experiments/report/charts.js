"use strict";
// Primitives: SVG elements, scales, ticks, labels that keep out of each other's way. No dependencies, no network.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null && value !== undefined) node.setAttribute(key, value);
  for (const child of children) if (child !== null) node.append(child);
  return node;
}

// An empty drawing as wide as its place on the page: text keeps its size whatever the width.
function canvas(host, height, title) {
  const width = Math.max(240, host.clientWidth);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": title });
  host.replaceChildren(svg);
  return [svg, width];
}

const ruler = document.createElement("canvas").getContext("2d");
function textWidth(text, size = 12, weight = 600) {
  ruler.font = `${weight} ${size}px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(text).width;
}

function shorten(text, width, size = 12) {
  if (textWidth(text, size) <= width) return text;
  let end = text.length;
  while (end > 1 && textWidth(`${text.slice(0, end)}…`, size) > width) end -= 1;
  return `${text.slice(0, end)}…`;
}

function scale(from, to, low, high, log = false) {
  const shape = log ? Math.log : (x) => x;
  const a = shape(from), b = shape(to);
  return (x) => low + ((shape(x) - a) / (b - a || 1)) * (high - low);
}

function ticks(low, high, count) {
  const raw = (high - low) / Math.max(1, count) || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function logTicks(low, high, count) {
  const decades = [];
  for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power += 1) decades.push(10 ** power);
  for (const steps of [[1, 2, 5], [1, 3], [1]]) {
    const found = decades.flatMap((d) => steps.map((s) => Number((d * s).toPrecision(3)))).filter((x) => x >= low && x <= high);
    if (found.length <= count && found.length > 1) return found;
  }
  return decades.filter((x) => x >= low && x <= high);
}

function number(x) {
  if (x === null) return "–";
  const size = Math.abs(x);
  if (size !== 0 && (size >= 1e6 || size < 1e-4)) return x.toExponential(1).replace("e+", "e");
  return Number(x.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 6 }).replace("-", "−");
}

function signed(x, digits = 3) {
  if (x === null) return "–";
  return (x < 0 ? "−" : "+") + Math.abs(x).toFixed(digits);
}

function axisBottom(svg, x, marks, top, bottom, format = number) {
  for (const mark of marks) {
    svg.append(
      element("line", { x1: x(mark), x2: x(mark), y1: top, y2: bottom, class: "grid" }),
      element("text", { x: x(mark), y: bottom + 16, "text-anchor": "middle", class: "tick" }, format(mark)),
    );
  }
}

function axisLeft(svg, y, marks, left, right, format = number) {
  for (const mark of marks) {
    svg.append(
      element("line", { x1: left, x2: right, y1: y(mark), y2: y(mark), class: mark === 0 ? "axis" : "grid" }),
      element("text", { x: left - 6, y: y(mark) + 4, "text-anchor": "end", class: "tick" }, format(mark)),
    );
  }
}

const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// Labels in a column: moved apart by at least `gap`, staying between `low` and `high`.
function spread(labels, gap, low, high) {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  let edge = low;
  for (const label of sorted) {
    label.y = Math.max(label.y, edge);
    edge = label.y + gap;
  }
  edge = high;
  for (const label of sorted.reverse()) {
    label.y = Math.min(label.y, edge);
    edge = label.y - gap;
  }
}

// A place beside (x, y) for a label of this width that overlaps nothing in `taken`; null if there is none.
function besides(x, y, width, taken, right, bottom) {
  const height = 13;
  for (const [dx, dy] of [[9, 4], [-9 - width, 4], [-width / 2, -9], [-width / 2, 19], [8, -7], [8, 16], [-8 - width, -7], [-8 - width, 16]]) {
    const box = { x0: x + dx, x1: x + dx + width, y0: y + dy - height + 3, y1: y + dy + 3 };
    const inside = box.x0 >= 0 && box.x1 <= right && box.y0 >= 0 && box.y1 <= bottom;
    if (inside && !taken.some((o) => box.x0 < o.x1 && box.x1 > o.x0 && box.y0 < o.y1 && box.y1 > o.y0)) {
      taken.push(box);
      return [x + dx, y + dy];
    }
  }
  return null;
}
