"use strict";
// What can be chosen on the page: the comparison, curves, agents, the dimension of shares, the order of tables.

const data = JSON.parse(document.getElementById("data").textContent);
document.documentElement.classList.add("js");

const state = { cell: data.start, kind: "lead", dimension: "model", chosen: new Set(), touched: false };
const byId = (id) => document.getElementById(id);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// One colour per agent on the whole page: hues for what learns, greys for references and baselines.
const colours = new Map();
{
  let hue = 0, grey = 1;
  for (const { name, kind, role } of data.agents) {
    if (kind === "best_fixed") colours.set(name, { colour: "var(--n0)", dash: null });
    else if (role === "learner") {
      colours.set(name, { colour: `var(--c${hue % 10})`, dash: hue < 10 ? null : "7 3" });
      hue += 1;
    } else {
      colours.set(name, { colour: `var(--n${Math.min(grey, 5)})`, dash: grey % 2 ? "6 3" : "2 3" });
      grey += 1;
    }
  }
}
const paint = (name) => colours.get(name);
const hue = (dimension, k, names) => {
  if (names[k] === "other") return "var(--n3)";
  return dimension === "budget" ? `var(--s${Math.round((k * 8) / Math.max(1, names.length - 1))})` : `var(--c${k % 10})`;
};

function draw() {
  const cell = data.cells[state.cell];
  if (!cell.agents.some((a) => a.lead)) state.kind = "regret";
  drawForest(byId("forest"), cell, paint);
  drawCurves(byId("curves"), cell, state.kind, state.chosen, paint);
  byId("plane-figure").hidden = !cell.plane;
  if (cell.plane) drawPlane(byId("plane"), cell, paint);
  drawShares(byId("shares"), cell, state.dimension, hue);
  byId("replay-figure").hidden = cell.agents.some((a) => a.holdout) || !cell.agents.some((a) => a.replayed !== null && a.fresh !== null);
  if (!byId("replay-figure").hidden) drawReplay(byId("replay"), cell, paint);
  byId("holdout-figure").hidden = !cell.agents.some((a) => a.holdout && a.late !== null && a.role === "learner");
  if (!byId("holdout-figure").hidden) drawHoldout(byId("holdout"), cell, paint);
  byId("forest-figure").hidden = !cell.agents.some((a) => a.versus);
}

function chips(cell) {
  byId("chips").replaceChildren(...cell.agents.filter((a) => a.role !== "reference" || a.kind === "best_fixed").map((agent) => {
    const chip = document.createElement("button"), dot = document.createElement("span");
    dot.className = "dot";
    dot.style.background = paint(agent.name).colour;
    chip.type = "button";
    chip.append(dot, agent.name);
    chip.setAttribute("aria-pressed", state.chosen.has(agent.name));
    chip.addEventListener("click", () => {
      state.touched = true;
      if (!state.chosen.delete(agent.name)) state.chosen.add(agent.name);
      chip.setAttribute("aria-pressed", state.chosen.has(agent.name));
      drawCurves(byId("curves"), cell, state.kind, state.chosen, paint);
    });
    return chip;
  }));
}

function legend(cell) {
  const names = cell.categories[state.dimension];
  byId("shares-legend").replaceChildren(...names.map((name, k) => {
    const item = document.createElement("span"), box = document.createElement("i");
    box.className = "box";
    box.style.background = hue(state.dimension, k, names);
    item.append(box, name);
    return item;
  }));
}

function choose(index) {
  state.cell = index;
  const cell = data.cells[index];
  if (!state.touched) {
    const learners = cell.agents.filter((a) => a.role === "learner").slice(0, 5);
    const fixed = cell.agents.filter((a) => a.kind === "best_fixed");
    state.chosen = new Set([...learners, ...fixed].map((a) => a.name));
  }
  all(".cell").forEach((section) => section.classList.toggle("chosen", Number(section.dataset.cell) === index));
  all("#picker button").forEach((b) => b.setAttribute("aria-pressed", cell.key[Number(b.dataset.part)] === b.dataset.name));
  chips(cell);
  legend(cell);
  draw();
}

// The comparison that has this name in this part of its key and otherwise most in common with the one shown.
function nearest(part, name) {
  const now = data.cells[state.cell].key;
  const shared = (key) => key.filter((v, i) => v === now[i]).length;
  return data.cells.map((c, i) => [c.key, i]).filter(([key]) => key[part] === name).sort((a, b) => shared(b[0]) - shared(a[0]))[0][1];
}

all("#picker button").forEach((b) => b.addEventListener("click", () => choose(nearest(Number(b.dataset.part), b.dataset.name))));
all("[data-cell].go, .heat button").forEach((b) => b.addEventListener("click", () => {
  choose(Number(b.dataset.cell));
  byId("picker").scrollIntoView({ block: "start" });
}));
for (const [group, key, after] of [["kinds", "kind", draw], ["dimensions", "dimension", () => { legend(data.cells[state.cell]); draw(); }]]) {
  all(`#${group} button`).forEach((b) => b.addEventListener("click", () => {
    state[key] = b.value;
    all(`#${group} button`).forEach((other) => other.setAttribute("aria-pressed", other === b));
    after();
  }));
}

all("table.sortable").forEach((table) => all("th", table).forEach((head, column) => {
  head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") === "descending";
    all("th", table).forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => {
      const [p, q] = [value(a), value(b)];
      if (p === "" || q === "") return (p === "") - (q === "");
      const order = Number.isNaN(Number(p)) ? p.localeCompare(q, "en") : p - q;
      return up ? order : -order;
    };
    table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
  });
}));

const tip = byId("tip");
document.addEventListener("pointermove", (event) => {
  const text = event.target.closest?.("[data-tip]")?.getAttribute("data-tip");
  tip.style.visibility = text ? "visible" : "hidden";
  if (!text) return;
  tip.textContent = text;
  const { offsetWidth: w, offsetHeight: h } = tip;
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - w - 6))}px`;
  tip.style.top = `${event.clientY + 18 + h > innerHeight ? event.clientY - h - 12 : event.clientY + 18}px`;
});

let width = 0;
new ResizeObserver(() => {
  if (document.body.clientWidth === width) return;
  width = document.body.clientWidth;
  requestAnimationFrame(draw);
}).observe(document.body);

// Every table as CSV, every figure as SVG: what the page shows, in a file.
function save(name, type, text) {
  const link = document.createElement("a"), address = URL.createObjectURL(new Blob([text], { type }));
  link.setAttribute("href", address);
  link.download = `${data.name}-${name}`.replace(/[^A-Za-z0-9._=+-]+/g, "-");
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

function csv(table) {
  const text = (cell) => cell.textContent.trim().replaceAll("−", "-").replace(/\s+/g, " ");
  const quoted = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const cells = (row) => [...row.cells].flatMap((cell) => [text(cell), ...Array(cell.colSpan - 1).fill("")]);
  return [...table.rows].map((row) => cells(row).map(quoted).join(",")).join("\n") + "\n";
}

// A copy that stands alone: styles that the page gives by class or variable are written into it.
function standalone(svg) {
  const copy = svg.cloneNode(true), nodes = [svg, ...svg.querySelectorAll("*")], copies = [copy, ...copy.querySelectorAll("*")];
  nodes.forEach((node, i) => {
    const style = getComputedStyle(node);
    for (const name of ["fill", "stroke", "font-size", "font-weight", "font-family", "visibility"]) copies[i].style.setProperty(name, style.getPropertyValue(name));
    copies[i].removeAttribute("class");
    copies[i].removeAttribute("data-tip");
  });
  copy.setAttribute("xmlns", SVG);
  copy.style.background = getComputedStyle(document.body).getPropertyValue("--card");
  return new XMLSerializer().serializeToString(copy);
}

all("table[data-file]").forEach((table) => {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "export", textContent: "CSV", title: "save this table" });
  button.addEventListener("click", () => save(`${table.dataset.file}.csv`, "text/csv", csv(table)));
  table.closest(".scroll").previousElementSibling.append(button);
});
all("figure[data-file]").forEach((figure) => {
  const button = document.createElement("button");
  Object.assign(button, { type: "button", className: "export", textContent: "SVG", title: "save this figure" });
  button.addEventListener("click", () => save(`${figure.dataset.file}-${data.cells[state.cell].key.join("-")}.svg`, "image/svg+xml", standalone(figure.querySelector("svg[role=img]"))));
  figure.firstElementChild.append(button);
});
choose(data.start);
