"use strict";
// The figures: each draws one comparison into a place on the page.

// Differences from the best fixed arm, and below them what could be had.
function drawForest(host, cell, paint) {
  const rows = cell.agents
    .filter((a) => a.versus && a.role !== "reference")
    .map((a) => ({ name: a.name, colour: paint(a.name).colour, value: a.versus.difference, wide: a.versus.queries, clear: a.versus.p_holm < 0.05, learner: a.role === "learner", p: a.versus.p_holm, improvement: a.versus.improvement }))
    .sort((a, b) => b.value[0] - a.value[0]);
  const could = [];
  const add = (name, v, explain) => v && could.push({ name, value: [v.value, v.low, v.high], wide: [v.low, v.high], reference: true, explain });
  add("context ceiling", cell.ceiling, "a policy with full information on the other queries, from the same features; interval over queries");
  add("cross-fitted oracle", cell.cross_fitted && cell.cross_fitted.gap, "arm chosen on one half of the samples, valued on the other: a lower bound; interval over queries");
  add("table oracle", cell.gap, "the best arm per query by the table's own expectation; interval over queries");
  const step = 25, split = could.length && rows.length ? 14 : 0, top = 8, bottom = top + (rows.length + could.length) * step + split;
  const [svg, width] = canvas(host, bottom + 24, "Paired differences in reward from the best fixed arm");
  const roomy = width >= 540;
  const left = Math.min(width * 0.42, 240, 12 + Math.max(...[...rows, ...could].map((r) => textWidth(r.name, 12.5))));
  const right = width - (roomy ? 158 : 52);
  const near = [...rows.filter((r) => r.learner), ...could.slice(0, 1)];
  const ends = (near.length ? near : rows).flatMap((r) => [r.value[0], ...r.wide]).filter((v) => v !== null);
  const low = Math.min(0, ...ends), high = Math.max(0, ...ends), pad = (high - low) * 0.06 || 0.01;
  const x = scale(low - pad, high + pad, left, right), from = low - pad, to = high + pad;
  axisBottom(svg, x, ticks(from, to, roomy ? 6 : 3), top, bottom, (v) => (v === 0 ? "0" : signed(v, Math.max(...ticks(from, to, roomy ? 6 : 3).map((t) => (String(t).split(".")[1] || "").length)))));
  svg.append(element("line", { x1: x(0), x2: x(0), y1: top, y2: bottom, style: "stroke:var(--ink)" }));
  const clamp = (v) => Math.min(Math.max(v, from), to);
  [...rows, ...could].forEach((row, i) => {
    const y = top + (i + 0.5) * step + (row.reference ? split : 0);
    const colour = row.reference ? "var(--muted)" : row.colour;
    const [mean, lo, hi] = row.value;
    const group = element("g", { "data-tip": `${row.name}\n${signed(mean, 4)}${lo === null ? "" : ` [${signed(lo, 4)}, ${signed(hi, 4)}]`}` + (row.reference ? `\n${row.explain}` : `\nover seeds and queries [${signed(row.wide[0], 4)}, ${signed(row.wide[1], 4)}]\nHolm-corrected p ${number(row.p)}; better on ${Math.round(row.improvement * 100)}% of seeds`) });
    group.append(element("rect", { x: 0, y: y - step / 2, width, height: step, fill: "transparent" }));
    group.append(element("text", { x: left - 10, y: y + 4, "text-anchor": "end", class: row.learner ? "label" : "note", "font-size": 12.5 }, shorten(row.name, left - 12, 12.5)));
    const bar = (a, b, thick) => a !== null && b >= from && a <= to && group.append(element("line", { x1: x(clamp(a)), x2: x(clamp(b)), y1: y, y2: y, style: `stroke:${colour}`, "stroke-width": thick, "stroke-linecap": "round" }));
    bar(row.wide[0], row.wide[1], 1.2);
    if (!row.reference) bar(lo, hi, 4.5);
    if (mean >= from && mean <= to) {
      group.append(row.reference
        ? element("path", { d: `M${x(mean)} ${y - 6}l6 6l-6 6l-6 -6z`, style: `fill:var(--card);stroke:${colour}`, "stroke-width": 1.6 })
        : element("circle", { cx: x(mean), cy: y, r: 4.6, style: `fill:${row.clear ? colour : "var(--card)"};stroke:${colour}`, "stroke-width": 2 }));
    } else {
      const edge = mean > to ? right : left, way = mean > to ? -8 : 8;
      group.append(element("path", { d: `M${edge} ${y}l${way} -5v10z`, style: `fill:${colour}` }));
    }
    const told = roomy && lo !== null ? `${signed(mean)} [${signed(lo)}, ${signed(hi)}]` : signed(mean);
    group.append(element("text", { x: width, y: y + 4, "text-anchor": "end", class: row.clear ? "label" : "note", "font-weight": row.clear ? 700 : 400, "font-size": 11.5 }, told));
    svg.append(group);
  });
  if (split) svg.append(element("line", { x1: 0, x2: width, y1: top + rows.length * step + split / 2, y2: top + rows.length * step + split / 2, class: "axis", "stroke-dasharray": "2 3" }));
}

// Curves over rounds with bands: the lead over the best fixed arm, or regret.
function drawCurves(host, cell, kind, chosen, paint) {
  const [svg, width] = canvas(host, 330, kind === "lead" ? "Lead over the best fixed arm" : "Cumulative regret");
  const shown = cell.agents.filter((a) => a[kind] && chosen.has(a.name));
  const ghosts = cell.agents.filter((a) => a[kind] && !chosen.has(a.name) && a.role === "learner");
  const roomy = width >= 440;
  const left = 46, top = 10, bottom = 296, right = width - (roomy ? Math.min(150, 16 + Math.max(20, ...shown.map((a) => textWidth(a.name)))) : 20);
  const values = shown.flatMap((a) => (a[kind].low[0] === null ? a[kind].mean : [...a[kind].low, ...a[kind].high]));
  const low = Math.min(0, ...values), high = Math.max(0, ...values), pad = (high - low) * 0.04 || 1;
  const x = scale(0, cell.rounds, left, right), y = scale(low - (low < 0 ? pad : 0), high + pad, bottom, top);
  axisLeft(svg, y, ticks(low, high, 5), left, right);
  for (const mark of ticks(0, cell.rounds, roomy ? 5 : 3)) svg.append(element("text", { x: x(mark), y: bottom + 16, "text-anchor": "middle", class: "tick" }, mark.toLocaleString("en")));
  svg.append(element("text", { x: right, y: bottom + 31, "text-anchor": "end", class: "note" }, "rounds"));
  for (const start of cell.segments.filter((s) => s > 0)) svg.append(element("line", { x1: x(start), x2: x(start), y1: top, y2: bottom, class: "axis", "stroke-dasharray": "4 3" }));
  const clip = element("clipPath", { id: "plot" }, element("rect", { x: left, y: top, width: right - left, height: bottom - top }));
  const body = element("g", { "clip-path": "url(#plot)" });
  svg.append(clip, body);
  const line = (agent, attributes) => element("path", { d: path(agent[kind].mean.map((v, i) => [x(cell.x[i]), y(v)])), fill: "none", "stroke-linejoin": "round", ...attributes });
  for (const agent of ghosts) body.append(line(agent, { style: "stroke:var(--line)", "stroke-width": 1.3 }));
  for (const agent of shown) {
    const { colour } = paint(agent.name), curve = agent[kind];
    if (curve.low[0] !== null) body.append(element("path", { d: `${path([...curve.high.map((v, i) => [x(cell.x[i]), y(v)]), ...curve.low.map((v, i) => [x(cell.x[i]), y(v)]).reverse()])}Z`, style: `fill:${colour}`, opacity: 0.14 }));
  }
  const labels = [];
  for (const agent of shown) {
    const { colour, dash } = paint(agent.name);
    body.append(line(agent, { style: `stroke:${colour}`, "stroke-width": 2.2, "stroke-dasharray": dash }));
    labels.push({ y: y(agent[kind].mean.at(-1)), name: agent.name, colour });
  }
  if (roomy) {
    spread(labels, 14, top + 4, bottom);
    for (const label of labels) svg.append(element("text", { x: right + 6, y: label.y + 4, style: `fill:${label.colour}`, "font-weight": 600 }, shorten(label.name, width - right - 6)));
  }
  const cursor = element("line", { y1: top, y2: bottom, class: "axis", visibility: "hidden" });
  svg.append(cursor);
  const field = element("rect", { x: left, y: top, width: right - left, height: bottom - top, fill: "transparent", "data-tip": "" });
  field.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * width;
    const i = cell.x.reduce((best, v, j) => (Math.abs(x(v) - at) < Math.abs(x(cell.x[best]) - at) ? j : best), 0);
    cursor.setAttribute("x1", x(cell.x[i]));
    cursor.setAttribute("x2", x(cell.x[i]));
    cursor.setAttribute("visibility", "visible");
    const order = [...shown].sort((a, b) => b[kind].mean[i] - a[kind].mean[i]);
    field.setAttribute("data-tip", [`after ${cell.x[i].toLocaleString("en")} rounds`, ...order.map((a) => `${a.name} ${kind === "lead" ? signed(a[kind].mean[i], 1) : number(a[kind].mean[i])}`)].join("\n"));
  });
  field.addEventListener("pointerleave", () => cursor.setAttribute("visibility", "hidden"));
  svg.append(field);
}

// Quality against cost: fixed arms, what coin tosses between them reach, oracles, agents. Where the learners crowd
// together, a second picture shows their part of the plane.
function drawPlane(host, cell, paint) {
  const { hull = [], oracle, oracle_curve: curve } = cell.plane;
  const agents = cell.agents.map((a) => [a.cost, a.quality]);
  const fixed = cell.fixed.cost.map((cost, i) => [cost, cell.fixed.quality[i]]);
  const learners = cell.agents.filter((a) => a.role === "learner" || a.kind === "best_fixed").map((a) => [a.cost, a.quality]);
  const whole = extent([...fixed, ...curve, oracle, ...agents], 0.05), close = extent(learners, 0.18);
  const share = ((close.right - close.left) * (close.top - close.bottom)) / ((whole.right - whole.left) * (whole.top - whole.bottom));
  const inset = learners.length > 2 && share < 0.12, height = inset ? 560 : 350;
  const [svg, width] = canvas(host, height, "Quality against cost per round");
  const costs = [...fixed, ...agents, ...curve].map((p) => p[0]), least = Math.min(...costs), log = least > 0 && Math.max(...costs) > 12 * least;
  const margin = log ? (Math.max(...costs) / least) ** 0.05 : 1;
  const box = log ? { ...whole, left: least / margin, right: Math.max(...costs) * margin } : { ...whole, left: Math.min(0, least) };
  planePart(svg, cell, paint, box, { left: 42, top: 10, right: width - 10, bottom: 308 }, log, inset ? close : null);
  svg.append(element("text", { x: width - 10, y: 341, "text-anchor": "end", class: "note" }, `cost per round, ${cell.unit}${log ? " (log scale)" : ""}`));
  if (inset) {
    svg.append(element("text", { x: 46, y: 362, class: "note" }, "the part with the learners, enlarged"));
    planePart(svg, cell, paint, close, { left: 42, top: 370, right: width - 10, bottom: 536 }, false, null);
  }
}

// The smallest box around (cost, quality) points, widened by a share of its sides.
function extent(points, share) {
  const x = points.map((p) => p[0]), y = points.map((p) => p[1]);
  const [left, right, bottom, top] = [Math.min(...x), Math.max(...x), Math.min(...y), Math.max(...y)];
  const wide = (right - left) * share || Math.abs(right) * 0.05 || 1, high = (top - bottom) * share || 0.02;
  return { left: left - wide, right: right + wide, bottom: bottom - high, top: top + high };
}

// One picture of a part `box` of the plane in a part `at` of the drawing; `marked` is framed in it.
function planePart(svg, cell, paint, box, at, log, marked) {
  const { hull = [], oracle_curve: curve, random_line: random = [] } = cell.plane;
  const x = scale(box.left, box.right, at.left, at.right, log), y = scale(box.bottom, box.top, at.bottom, at.top), few = at.right < 460;
  axisLeft(svg, y, ticks(box.bottom, box.top, 5), at.left, at.right);
  axisBottom(svg, x, log ? logTicks(box.left, box.right, few ? 5 : 9) : ticks(box.left, box.right, few ? 4 : 6), at.bottom, at.bottom);
  svg.append(element("text", { x: at.left + 4, y: at.top + 10, class: "note" }, "quality"));
  const name = `plane-${Math.round(at.top)}`;
  const clip = element("clipPath", { id: name }, element("rect", { x: at.left, y: at.top, width: at.right - at.left, height: at.bottom - at.top }));
  const body = element("g", { "clip-path": `url(#${name})` });
  svg.append(clip, body);
  const drawn = (points) => path(points.map(([c, q]) => [x(Math.max(c, log ? box.left * 1e-3 : c)), y(q)]));
  // a mixture of two arms is a straight line in the plane, but not on a log scale
  const bent = (points) => points.slice(1).flatMap((b, i) => Array.from({ length: 25 }, (_, j) => [0, 1].map((k) => points[i][k] + ((b[k] - points[i][k]) * j) / 24)));
  body.append(element("path", { d: drawn(curve), fill: "none", style: "stroke:var(--n1)", "stroke-width": 1.4, "stroke-dasharray": "1 4", "stroke-linecap": "round" }));
  if (hull.length > 1) body.append(element("path", { d: drawn(bent(hull)), fill: "none", style: "stroke:var(--n0)", "stroke-width": 1.4 }));
  if (random.length > 1) body.append(element("path", { d: drawn(bent(random)), fill: "none", style: "stroke:var(--n1)", "stroke-width": 1.4, "stroke-dasharray": "5 4" }));
  cell.fixed.cost.forEach((cost, i) => body.append(element("circle", { cx: x(cost), cy: y(cell.fixed.quality[i]), r: 3.2, style: "fill:var(--n2)", opacity: 0.75, "data-tip": `${cell.fixed.name[i]}\nquality ${number(cell.fixed.quality[i])}, cost ${number(cost)} ${cell.unit}` })));
  const within = (c, q, part) => c >= part.left && c <= part.right && q >= part.bottom && q <= part.top;
  const points = cell.agents.filter((a) => within(a.cost, a.quality, box)).map((a) => ({ ...a, px: x(a.cost), py: y(a.quality) }));
  const taken = points.map((p) => ({ x0: p.px - 6, x1: p.px + 6, y0: p.py - 6, y1: p.py + 6 }));
  for (const p of [...points].reverse()) {
    const { colour, dash } = paint(p.name), learner = p.role === "learner";
    const shape = learner && dash ? ["rect", { x: p.px - 5.5, y: p.py - 5.5, width: 11, height: 11 }] : ["circle", { cx: p.px, cy: p.py, r: learner ? 6 : 5 }];
    body.append(element(shape[0], { ...shape[1], style: `fill:${learner ? colour : "var(--card)"};stroke:${learner ? "var(--card)" : colour}`, "stroke-width": learner ? 1.5 : 2.2, "data-tip": `${p.name}\nquality ${number(p.quality)}, cost ${number(p.cost)} ${cell.unit}\nreward ${number(p.reward[0])}` }));
  }
  if (marked) svg.append(element("rect", { x: x(Math.max(marked.left, box.left)), y: y(marked.top), width: Math.max(2, x(marked.right) - x(Math.max(marked.left, box.left))), height: y(marked.bottom) - y(marked.top), fill: "none", class: "axis", "stroke-dasharray": "3 3" }));
  for (const p of points.filter((a) => !marked || !within(a.cost, a.quality, marked))) {
    const label = shorten(p.name, 150, 11.5), spot = besides(p.px, p.py - at.top, textWidth(label, 11.5), taken.map((o) => ({ ...o, y0: o.y0 - at.top, y1: o.y1 - at.top })), at.right, at.bottom - at.top);
    if (!spot) continue;
    taken.push({ x0: spot[0], x1: spot[0] + textWidth(label, 11.5), y0: spot[1] + at.top - 10, y1: spot[1] + at.top + 3 });
    svg.append(element("text", { x: spot[0], y: spot[1] + at.top, style: `fill:${paint(p.name).colour};stroke:var(--card)`, "stroke-width": 3, "paint-order": "stroke", "font-size": 11.5, "font-weight": p.role === "learner" ? 600 : 400, "pointer-events": "none" }, label));
  }
}

// Shares of the arms over rounds, one small chart per agent.
function drawShares(host, cell, dimension, hue) {
  const names = cell.categories[dimension], width = Math.max(240, host.clientWidth);
  const columns = Math.max(2, Math.floor(width / 178)), gap = 14, each = (width - gap * (columns - 1)) / columns, high = 74, step = high + 34;
  const [svg] = canvas(host, Math.ceil(cell.agents.length / columns) * step, `Shares of each ${dimension} over rounds, per agent`);
  cell.agents.forEach((agent, n) => {
    const x0 = (n % columns) * (each + gap), y0 = Math.floor(n / columns) * step + 18;
    const x = scale(0, cell.rounds, x0, x0 + each), y = scale(0, 1000, y0 + high, y0);
    svg.append(element("text", { x: x0, y: y0 - 5, class: agent.role === "learner" ? "label" : "note", "font-weight": agent.role === "learner" ? 600 : 400 }, shorten(agent.name, each)));
    const below = cell.areas.map(() => 0);
    agent.arms[dimension].forEach((shares, k) => {
      const low = [...below];
      shares.forEach((share, i) => { below[i] += share; });
      if (Math.max(...shares) === 0) return;
      const edge = (levels) => [[x(0), y(levels[0])], ...levels.map((v, i) => [x(cell.areas[i]), y(v)])];
      const share = shares.reduce((a, b) => a + b, 0) / shares.length / 10;
      svg.append(element("path", { d: `${path([...edge(below), ...edge(low).reverse()])}Z`, style: `fill:${hue(dimension, k, names)};stroke:var(--card)`, "stroke-width": 0.6, opacity: 0.88, "data-tip": `${agent.name}\n${names[k]}: ${share < 1 ? "under 1" : Math.round(share)}% of rounds` }));
    });
    for (const start of cell.segments.filter((s) => s > 0)) svg.append(element("line", { x1: x(start), x2: x(start), y1: y0, y2: y0 + high, style: "stroke:var(--ink)", "stroke-dasharray": "2 3", opacity: 0.6 }));
  });
}

// The lead over the best fixed arm in the last quarter of the rounds, and in the hold-out on queries never asked before.
function drawHoldout(host, cell, paint) {
  const rows = cell.agents.filter((a) => a.role === "learner" && a.late !== null && a.holdout);
  const step = 25, top = 8, bottom = top + rows.length * step;
  const [svg, width] = canvas(host, bottom + 36, "Lead over the best fixed arm late in the rounds and in the hold-out");
  const left = Math.min(width * 0.4, 12 + Math.max(...rows.map((r) => textWidth(r.name, 12.5)))), right = width - 12;
  const values = rows.flatMap((r) => [r.late, ...r.holdout]).filter((v) => v !== null), low = Math.min(0, ...values), high = Math.max(0, ...values), pad = (high - low) * 0.06 || 0.01;
  const x = scale(low - pad, high + pad, left, right);
  axisBottom(svg, x, ticks(low - pad, high + pad, width > 460 ? 6 : 3), top, bottom);
  svg.append(element("line", { x1: x(0), x2: x(0), y1: top, y2: bottom, style: "stroke:var(--ink)" }));
  svg.append(element("text", { x: right, y: bottom + 31, "text-anchor": "end", class: "note" }, "lead per round"));
  rows.forEach((row, i) => {
    const y = top + (i + 0.5) * step, { colour } = paint(row.name), [lead, lo, hi, qlo, qhi] = row.holdout, wide = qlo === null ? [lo, hi] : [qlo, qhi];
    const group = element("g", { "data-tip": `${row.name}\nlast quarter of the rounds ${signed(row.late)}\nhold-out ${signed(lead)}${wide[0] === null ? "" : ` [${signed(wide[0])}, ${signed(wide[1])}] over seeds and queries`}` },
      element("rect", { x: 0, y: y - step / 2, width, height: step, fill: "transparent" }),
      element("text", { x: left - 10, y: y + 4, "text-anchor": "end", class: "label", "font-size": 12.5 }, shorten(row.name, left - 12, 12.5)));
    if (wide[0] !== null) group.append(element("line", { x1: x(wide[0]), x2: x(wide[1]), y1: y, y2: y, style: `stroke:${colour}`, "stroke-width": 1.4 }));
    group.append(element("circle", { cx: x(row.late), cy: y, r: 4, style: `fill:var(--card);stroke:${colour}`, "stroke-width": 2 }), element("circle", { cx: x(lead), cy: y, r: 4.8, style: `fill:${colour}` }));
    svg.append(group);
  });
}

// Mean reward on fresh and on replayed queries.
function drawReplay(host, cell, paint) {
  const rows = cell.agents.filter((a) => a.fresh !== null && a.replayed !== null && a.kind !== "oracle");
  const step = 25, top = 8, bottom = top + rows.length * step;
  const [svg, width] = canvas(host, bottom + 36, "Reward on fresh and replayed queries");
  const left = Math.min(width * 0.4, 12 + Math.max(...rows.map((r) => textWidth(r.name, 12.5)))), right = width - 12;
  const values = rows.flatMap((r) => [r.fresh, r.replayed]), low = Math.min(...values), high = Math.max(...values), pad = (high - low) * 0.06 || 0.01;
  const x = scale(low - pad, high + pad, left, right);
  axisBottom(svg, x, ticks(low - pad, high + pad, width > 460 ? 6 : 3), top, bottom);
  svg.append(element("text", { x: right, y: bottom + 31, "text-anchor": "end", class: "note" }, "mean reward per round"));
  rows.forEach((row, i) => {
    const y = top + (i + 0.5) * step, { colour } = paint(row.name);
    svg.append(element("g", { "data-tip": `${row.name}\nfresh ${number(row.fresh)}, replayed ${number(row.replayed)} (${signed(row.replayed - row.fresh)})` },
      element("rect", { x: 0, y: y - step / 2, width, height: step, fill: "transparent" }),
      element("text", { x: left - 10, y: y + 4, "text-anchor": "end", class: row.role === "learner" ? "label" : "note", "font-size": 12.5 }, shorten(row.name, left - 12, 12.5)),
      element("line", { x1: x(row.fresh), x2: x(row.replayed), y1: y, y2: y, style: `stroke:${colour}`, "stroke-width": 3, opacity: 0.5 }),
      element("circle", { cx: x(row.replayed), cy: y, r: 4.8, style: `fill:${colour}` }),
      element("circle", { cx: x(row.fresh), cy: y, r: 4, style: `fill:var(--card);stroke:${colour}`, "stroke-width": 2 })));
  });
}
