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

// Quality against cost: fixed arms, what coin tosses between them reach, oracles, agents.
function drawPlane(host, cell, paint) {
  const [svg, width] = canvas(host, 350, "Quality against cost per round");
  const { hull = [], oracle, oracle_curve: curve, random_line: random = [] } = cell.plane;
  const left = 42, top = 10, bottom = 308, right = width - 10;
  const fixed = cell.fixed.cost.map((cost, i) => [cost, cell.fixed.quality[i], cell.fixed.name[i]]);
  const all = [...fixed, ...curve, oracle, ...cell.agents.map((a) => [a.cost, a.quality])];
  const costs = all.map((p) => p[0]), positive = costs.filter((c) => c > 0);
  const log = positive.length === costs.length && Math.max(...costs) > 12 * Math.min(...costs);
  const [cheap, dear] = [Math.min(...costs), Math.max(...costs)], margin = log ? (dear / cheap) ** 0.05 : (dear - cheap) * 0.05 || 1;
  const x = log ? scale(cheap / margin, dear * margin, left, right, true) : scale(Math.min(0, cheap), dear + margin, left, right);
  const qualities = all.map((p) => p[1]), worst = Math.min(...qualities), best = Math.max(...qualities), pad = (best - worst) * 0.06 || 0.05;
  const y = scale(worst - pad, best + pad, bottom, top);
  axisLeft(svg, y, ticks(worst, best, 5), left, right);
  axisBottom(svg, x, log ? logTicks(cheap / margin, dear * margin, width > 460 ? 9 : 5) : ticks(0, dear, width > 460 ? 6 : 4), bottom, bottom);
  svg.append(
    element("text", { x: right, y: bottom + 33, "text-anchor": "end", class: "note" }, `cost per round, ${cell.unit}${log ? " (log scale)" : ""}`),
    element("text", { x: left + 4, y: top + 10, class: "note" }, "quality"),
  );
  const drawn = (points) => path(points.map(([c, q]) => [x(c), y(q)]));
  // a mixture of two arms is a straight line in the plane, but not on a log scale
  const bent = (points) => points.slice(1).flatMap((b, i) => Array.from({ length: 25 }, (_, j) => [0, 1].map((k) => points[i][k] + ((b[k] - points[i][k]) * j) / 24)));
  svg.append(element("path", { d: drawn(curve), fill: "none", style: "stroke:var(--n1)", "stroke-width": 1.4, "stroke-dasharray": "1 4", "stroke-linecap": "round" }));
  if (hull.length > 1) svg.append(element("path", { d: drawn(bent(hull)), fill: "none", style: "stroke:var(--n0)", "stroke-width": 1.4 }));
  if (random.length > 1) svg.append(element("path", { d: drawn(bent(random)), fill: "none", style: "stroke:var(--n1)", "stroke-width": 1.4, "stroke-dasharray": "5 4" }));
  const taken = [];
  for (const [cost, quality, name] of fixed) {
    svg.append(element("circle", { cx: x(cost), cy: y(quality), r: 3.2, style: "fill:var(--n2)", opacity: 0.75, "data-tip": `${name}\nquality ${number(quality)}, cost ${number(cost)} ${cell.unit}` }));
  }
  const points = cell.agents.map((a) => ({ ...a, px: x(a.cost), py: y(a.quality) }));
  for (const p of points) taken.push({ x0: p.px - 6, x1: p.px + 6, y0: p.py - 6, y1: p.py + 6 });
  for (const p of [...points].reverse()) {
    const { colour, dash } = paint(p.name), learner = p.role === "learner";
    const shape = learner && dash ? ["rect", { x: p.px - 5.5, y: p.py - 5.5, width: 11, height: 11 }] : ["circle", { cx: p.px, cy: p.py, r: learner ? 6 : 5 }];
    svg.append(element(shape[0], { ...shape[1], style: `fill:${p.role === "learner" ? colour : "var(--card)"};stroke:${p.role === "learner" ? "var(--card)" : colour}`, "stroke-width": p.role === "learner" ? 1.5 : 2.2, "data-tip": `${p.name}\nquality ${number(p.quality)}, cost ${number(p.cost)} ${cell.unit}\nreward ${number(p.reward[0])}` }));
  }
  for (const p of points) {
    const label = shorten(p.name, 150, 11.5), spot = besides(p.px, p.py, textWidth(label, 11.5), taken, width, bottom);
    if (spot) svg.append(element("text", { x: spot[0], y: spot[1], style: `fill:${paint(p.name).colour};stroke:var(--card)`, "stroke-width": 3, "paint-order": "stroke", "font-size": 11.5, "font-weight": p.role === "learner" ? 600 : 400, "pointer-events": "none" }, label));
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
