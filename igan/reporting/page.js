"use strict";
// What the page of a report can do beyond being read: charts that zoom, runs to tick, tables that sort, films that stop.
// Without it everything is there as well, charts as pictures. It asks no network.

const SVG = "http://www.w3.org/2000/svg";
const number = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

function make(name, attributes, parent, text) {
  const node = name.startsWith("svg:") ? document.createElementNS(SVG, name.slice(4)) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw * 0.999);
  const found = [];
  for (let place = Math.ceil(low / step - 1e-9); place * step <= high * (1 + 1e-9) + 1e-12; place++) found.push(place * step || 0);
  return found;
}

function logarithmicTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
    for (const each of [1, 2, 5]) if (each * 10 ** power >= low && each * 10 ** power <= high) found.push(each * 10 ** power);
  return found;
}

class Chart {
  constructor(figure, names, hidden) {
    Object.assign(this, { figure, names, hidden, data: JSON.parse(figure.dataset.chart) });
    const picture = figure.querySelector("img");
    this.place = make("div", { class: "plot", tabindex: "0", role: "img", "aria-label": picture.alt });
    picture.replaceWith(this.place);
    const steps = this.data.lines.flatMap((line) => line.points.map((point) => point[0]));
    this.whole = [Math.min(...steps), Math.max(...steps)];
    if (this.whole[0] === this.whole[1]) this.whole = [this.whole[0] - 1, this.whole[1] + 1];
    this.view = [...this.whole];
    const tools = make("div", { class: "tools" });
    this.place.after(tools);
    for (const [sign, label, act] of [["+", "Zoom in", () => this.zoom(0.5)], ["−", "Zoom out", () => this.zoom(2)],
      ["↺", "Show all updates", () => this.show(this.whole)]]) {
      const button = make("button", { type: "button", "aria-label": `${label}: ${this.data.label}`, title: label }, tools, sign);
      button.addEventListener("click", act);
    }
    this.readout = make("span", { class: "readout" }, tools);
    this.legend = make("ul", { class: "legend" });
    tools.after(this.legend);
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.place);
  }

  listen() {
    this.place.addEventListener("keydown", (event) => {
      const [low, high] = this.view, part = (high - low) / 4;
      const act = { "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), 0: () => this.show(this.whole),
        Escape: () => this.show(this.whole), ArrowLeft: () => this.show([low - part, high - part]),
        ArrowRight: () => this.show([low + part, high + part]) }[event.key];
      if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      act();
    });
    this.place.addEventListener("dblclick", () => this.show(this.whole));
    this.place.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this.from = this.stepAt(event);
      this.place.setPointerCapture(event.pointerId);
    });
    this.place.addEventListener("pointermove", (event) => this.point(this.stepAt(event)));
    this.place.addEventListener("pointercancel", () => { this.from = undefined; this.draw(); });
    this.place.addEventListener("pointerleave", () => { if (this.from === undefined) this.point(); });
    this.place.addEventListener("pointerup", (event) => {
      const span = [this.from, this.stepAt(event)].sort((one, other) => one - other);
      this.from = undefined;
      if (span[1] - span[0] > 0.02 * (this.view[1] - this.view[0])) this.show(span); else this.draw();
    });
  }

  stepAt(event) {
    const box = this.place.getBoundingClientRect();
    const share = (event.clientX - box.left - this.left) / (this.width - this.left - this.right);
    return this.view[0] + Math.min(1, Math.max(0, share)) * (this.view[1] - this.view[0]);
  }

  zoom(factor) {
    const middle = (this.view[0] + this.view[1]) / 2, half = (factor * (this.view[1] - this.view[0])) / 2;
    this.show([middle - half, middle + half]);
  }

  show([low, high]) { // What is asked for, moved to where there is something.
    const span = Math.min(high - low, this.whole[1] - this.whole[0]);
    if (!(span > 0)) return;
    low = Math.min(Math.max(low, this.whole[0]), this.whole[1] - span);
    this.view = [low, low + span];
    this.draw();
  }

  point(step) {
    this.cursor?.remove();
    this.readout.textContent = "";
    if (step === undefined) return;
    const values = this.seen.map((line) => line.points.reduce((one, other) =>
      Math.abs(other[0] - step) < Math.abs(one[0] - step) ? other : one));
    if (!values.length) return;
    const nearest = values.reduce((one, other) => (Math.abs(other[0] - step) < Math.abs(one[0] - step) ? other : one))[0];
    const said = values.slice(0, 4).map((value) => number.format(value[1])).join(" · ");
    this.readout.textContent = `${Math.round(nearest).toLocaleString("en")}: ${said}${values.length > 4 ? " …" : ""}`;
    const edges = this.from === undefined ? [this.x(nearest), this.x(nearest)] : [this.x(this.from), this.x(step)];
    this.cursor = make("svg:rect", { class: "cursor", x: Math.min(...edges), y: 6, height: this.bottom - 6,
      width: Math.max(1, Math.abs(edges[1] - edges[0])) }, this.svg);
  }

  draw() {
    this.width = this.place.clientWidth || 640; // Printed before it was ever seen, say.
    const height = Math.round(Math.min(340, Math.max(190, 0.55 * this.width)));
    const [low, high] = this.view, floor = this.data.floor;
    this.seen = this.data.lines.filter((line) => !this.hidden.has(line.group));
    this.figure.hidden = !this.seen.length;
    const inside = this.seen.flatMap((line) => line.points.filter((point) => point[0] >= low && point[0] <= high));
    const marks = this.data.marks.filter(([group]) => !this.hidden.has(group)).map((mark) => mark[1]);
    const raise = (value) => (floor ? Math.max(value, floor) : value);
    const values = [...inside.flatMap((point) => [point[1] - point[2], point[1] + point[2]].map(raise)), ...marks];
    let bottom = values.length ? Math.min(...values) : 0, top = values.length ? Math.max(...values) : 1;
    const scale = floor ? Math.log : (value) => value;
    if (bottom === top) [bottom, top] = floor ? [bottom / 2, top * 2] : [bottom - (Math.abs(bottom) || 1) / 10, top + (Math.abs(top) || 1) / 10];
    const pad = 0.04 * (scale(top) - scale(bottom));
    const onY = floor ? logarithmicTicks(bottom, top) : ticks(bottom, top, 4);
    const longest = Math.max(2, ...onY.map((value) => number.format(value).length));
    Object.assign(this, { left: 26 + 7 * longest, right: 14, bottom: height - 38 });
    this.x = (step) => this.left + ((step - low) / (high - low)) * (this.width - this.left - this.right);
    const y = (value) => this.bottom - ((scale(raise(value)) - scale(bottom) + pad) / (scale(top) - scale(bottom) + 2 * pad)) * (this.bottom - 8);
    this.place.replaceChildren();
    this.svg = make("svg:svg", { viewBox: `0 0 ${this.width} ${height}`, height, "aria-hidden": "true" }, this.place);
    const clip = `clip${Chart.count = (Chart.count || 0) + 1}`;
    const box = { x: this.left, y: 0, width: Math.max(1, this.width - this.left - this.right), height: this.bottom + 2 };
    make("svg:rect", box, make("svg:clipPath", { id: clip }, this.svg));
    for (const value of onY) {
      make("svg:line", { class: "grid-line", x1: this.left, x2: this.width - this.right, y1: y(value), y2: y(value) }, this.svg);
      make("svg:text", { x: this.left - 6, y: y(value) + 4, "text-anchor": "end" }, this.svg, number.format(value));
    }
    for (const step of ticks(low, high, Math.max(3, this.width / 75)).filter((each) => Number.isInteger(each))) {
      make("svg:line", { class: "grid-line", x1: this.x(step), x2: this.x(step), y1: 6, y2: this.bottom }, this.svg);
      const edge = this.x(step) > this.width - 40 ? "end" : "middle";
      make("svg:text", { x: edge === "end" ? Math.min(this.x(step) + 12, this.width - 2) : this.x(step), y: this.bottom + 16, "text-anchor": edge },
        this.svg, step.toLocaleString("en"));
    }
    make("svg:text", { x: this.width - this.right, y: height - 4, "text-anchor": "end" }, this.svg, "training updates");
    make("svg:text", { transform: `translate(12 ${this.bottom / 2}) rotate(-90)`, "text-anchor": "middle" }, this.svg, this.data.label);
    const curves = make("svg:g", { "clip-path": `url(#${clip})` }, this.svg);
    for (const [start, name] of this.data.stages) {
      make("svg:line", { class: "stage", x1: this.x(start), x2: this.x(start), y1: 6, y2: this.bottom }, curves);
      make("svg:text", { class: "stage", transform: `translate(${this.x(start) + 10} 8) rotate(-90)`, "text-anchor": "end" }, curves, name);
    }
    for (const line of this.seen) this.drawLine(curves, line, y);
    for (const [group, value] of this.data.marks) {
      if (this.hidden.has(group)) continue;
      const at = [this.width - this.right, y(value)];
      const fill = this.data.lines.find((line) => line.group === group).color;
      make("svg:path", { d: `M${at[0] - 6} ${at[1]}l6 -6l6 6l-6 6z`, fill }, this.svg);
    }
    this.drawLegend();
  }

  drawLine(parent, line, y) {
    const { color, points } = line;
    const path = (each) => each.map((point) => point.map((value) => value.toFixed(1)).join(" ")).join("L");
    if (points.some((point) => point[2])) {
      const above = points.map((point) => [this.x(point[0]), y(point[1] + point[2])]);
      const below = points.map((point) => [this.x(point[0]), y(point[1] - point[2])]).reverse();
      make("svg:path", { d: `M${path([...above, ...below])}Z`, fill: color, opacity: 0.18 }, parent);
    }
    const middle = points.map((point) => [this.x(point[0]), y(point[1])]);
    make("svg:path", { class: "curve", d: `M${path(middle)}`, stroke: color, ...(line.dashed ? { "stroke-dasharray": "5 3" } : {}) }, parent);
    if (points.length === 1) make("svg:circle", { cx: middle[0][0], cy: middle[0][1], r: 3, fill: color }, parent);
  }

  drawLegend() {
    this.legend.replaceChildren();
    if (this.names.length < 2 && !this.data.marks.length) return;
    const entries = this.seen.map((line) => [line.color, line.dashed, this.names[line.group] || ""]);
    const several = (name) => entries.filter((each) => each[2] === name).length > 1;
    for (const [color, dashed, name] of entries) {
      const item = make("li", {}, this.legend);
      make("span", { class: "swatch", style: `border-top: 3px ${dashed ? "dashed" : "solid"} ${color}` }, item);
      item.append(name + (several(name) ? (dashed ? ", raw parameters" : ", averaged parameters") : ""));
    }
    if (this.data.marks.length) make("li", {}, this.legend, "◆ paper, after training");
  }
}

function compare(section, names, hidden, charts) {
  if (names.length < 2) return;
  const field = make("fieldset", { class: "compare" });
  make("legend", {}, field, "Compare");
  names.forEach((name, group) => {
    const label = make("label", {}, field);
    const box = make("input", { type: "checkbox" }, label);
    box.checked = true;
    label.append(` ${name}`);
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(group); else hidden.add(group);
      for (const figure of section.querySelectorAll("figure[data-group]")) figure.hidden = hidden.has(Number(figure.dataset.group));
      for (const chart of charts) chart.draw();
    });
  });
  section.querySelector("h3, .scroll").before(field);
}

function value(text) { // Of a cell, to sort by: the first number, a time in seconds, or the text.
  const time = text.match(/^(?:([\d,]+) h )?(?:(\d+) min ?)?(?:(\d+) s)?$/);
  if (text && time && time[0]) return [1, 2, 3].reduce((sum, place) => sum + Number((time[place] || "0").replaceAll(",", "")) * [0, 3600, 60, 1][place], 0);
  const found = text.replaceAll(",", "").replace("−", "-").match(/^[^\d-]{0,2}(-?\d+(\.\d+)?(e[+-]?\d+)?)/);
  return found ? Number(found[1]) : null;
}

function sortable(table) {
  const body = table.tBodies[0];
  if (!table.tHead || body.rows.length < 3) return;
  for (const head of table.tHead.rows[0].cells) {
    const button = make("button", { type: "button" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const keyed = [...body.rows].map((row) => [row.cells[head.cellIndex].textContent.trim(), row]);
      const nothing = (text) => text === "" || text === "-";
      keyed.sort(([one], [other]) => {
        if (nothing(one) || nothing(other)) return nothing(one) - nothing(other);
        const [a, b] = [value(one), value(other)];
        return sign * (a !== null && b !== null ? a - b : one.localeCompare(other, "en", { numeric: true }));
      });
      body.append(...keyed.map((each) => each[1]));
    });
  }
}

function film(figure) {
  const picture = figure.querySelector("img"), moving = picture.src;
  const button = make("button", { type: "button", class: "film-button" });
  const play = (playing) => {
    picture.src = playing ? moving : picture.dataset.still;
    button.textContent = playing ? "❚❚ Stop the film" : "▶ Play the film";
    button.dataset.playing = playing ? "yes" : "";
  };
  button.addEventListener("click", () => play(!button.dataset.playing));
  picture.after(button);
  play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
}

for (const section of document.querySelectorAll("section")) {
  const names = JSON.parse(section.dataset.groups || "[]"), hidden = new Set();
  const charts = [...section.querySelectorAll("figure[data-chart]")].map((figure) => new Chart(figure, names, hidden));
  compare(section, names, hidden, charts);
}
document.querySelectorAll(".scroll:not(.fields) table").forEach(sortable);
document.querySelectorAll("figure.film").forEach(film);
