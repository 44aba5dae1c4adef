// A figure of every layer over time as colours: one row per layer, one column per report.

import { colours, fit } from "./canvas.js";
import { h, onceAFrame } from "./dom.js";
import { figure } from "./format.js";

const LEFT = 118;
const RIGHT = 12;
const BOTTOM = 22;
const ROW = 18;
const LONGEST_TABLE = 12;
// Viridis (Smith and van der Walt) at five points: even to the eye, also without colour vision.
const STOPS = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];

function colour(share) {
  const place = Math.min(0.9999, Math.max(0, share)) * (STOPS.length - 1);
  const stop = Math.floor(place);
  const mixed = STOPS[stop].map((part, index) => Math.round(part + (place - stop) * (STOPS[stop + 1][index] - part)));
  return `rgb(${mixed.join(" ")})`;
}

export class HeatMap {
  /** `figures`: `[{name, label, log}]` that can be chosen. */
  constructor({ title, figures, xName = "step" }) {
    Object.assign(this, { title, figures, xName });
    this.layers = new Map(); // layer -> figure -> step -> value
    this.chosen = figures[0];
    this.at = null;
    this.choice = h(
      "select",
      { "aria-label": `${title}: figure`, onchange: (event) => this.choose(event.target.value) },
      figures.map((row) => h("option", { value: row.name }, row.label)),
    );
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.nothing = h("p", { class: "nothing" }, "Nothing reported yet.");
    this.plot = h("div", { class: "plot", tabindex: "0", role: "group" }, this.canvas, this.nothing);
    this.bar = h("canvas", { "aria-hidden": "true" });
    this.low = h("span", { class: "number" });
    this.high = h("span", { class: "number" });
    this.read = h("p", { class: "hint number", "aria-live": "polite" }, " ");
    this.table = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `${title}, values` });
    const details = h("details", {}, h("summary", {}, "As a table"), this.table);
    details.addEventListener("toggle", () => details.open && this.tabulate());
    this.element = h(
      "figure",
      { class: "chart heat card" },
      h("header", {}, h("h2", {}, title), h("div", { class: "tune" }, this.choice)),
      this.plot,
      h("div", { class: "row between" }, this.read, h("div", { class: "scale" }, this.low, this.bar, this.high)),
      details,
    );
    this.redraw = onceAFrame(() => this.draw());
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.plot);
    document.addEventListener("themechange", this.redraw);
    this.plot.addEventListener("pointermove", (event) => this.moved(event));
    this.plot.addEventListener("pointerleave", () => this.tell(null));
    this.plot.addEventListener("keydown", (event) => this.pressed(event));
  }

  destroy() {
    this.observer.disconnect();
    document.removeEventListener("themechange", this.redraw);
  }

  add(layer, name, step, value) {
    if (!this.layers.has(layer)) this.layers.set(layer, new Map());
    const figures = this.layers.get(layer);
    if (!figures.has(name)) figures.set(name, new Map());
    figures.get(name).set(step, value);
    this.redraw();
  }

  choose(name) {
    this.chosen = this.figures.find((row) => row.name === name);
    this.at = null;
    this.redraw();
  }

  /** Layers, steps and bounds of what is shown. */
  grid() {
    const rows = [...this.layers].filter(([, figures]) => figures.has(this.chosen.name)).map(([layer, figures]) => [layer, figures.get(this.chosen.name)]);
    const steps = [...new Set(rows.flatMap(([, values]) => [...values.keys()]))].sort((a, b) => a - b);
    const scaled = rows.flatMap(([, values]) => [...values.values()]).map((value) => this.scaled(value)).filter(Number.isFinite);
    let low = Math.min(...scaled);
    let high = Math.max(...scaled);
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    return { rows, steps, low, high };
  }

  scaled(value) {
    if (typeof value !== "number") return NaN;
    return this.chosen.log ? (value > 0 ? Math.log10(value) : NaN) : value;
  }

  unscaled(value) {
    return this.chosen.log ? 10 ** value : value;
  }

  draw() {
    const grid = this.grid();
    this.shownGrid = grid;
    this.nothing.hidden = grid.rows.length > 0;
    this.plot.style.height = `${Math.max(6, grid.rows.length) * ROW + BOTTOM}px`;
    this.plot.setAttribute("aria-label", `${this.title}: ${this.chosen.label}, ${grid.rows.length} layers, ${grid.steps.length} reports. Arrow keys read values.`);
    this.plot.dataset.reports = String(grid.steps.length);
    const size = fit(this.canvas);
    if (!size || !grid.rows.length) return;
    const { context, width } = size;
    const theme = colours(this.plot);
    const cell = (width - LEFT - RIGHT) / grid.steps.length;
    context.font = "11px ui-monospace, monospace";
    context.textBaseline = "middle";
    context.textAlign = "right";
    grid.rows.forEach(([layer, values], row) => {
      context.fillStyle = theme.dim;
      context.fillText(layer.length > 17 ? `…${layer.slice(-16)}` : layer, LEFT - 6, row * ROW + ROW / 2);
      grid.steps.forEach((step, column) => {
        const value = this.scaled(values.get(step));
        context.fillStyle = Number.isFinite(value) ? colour((value - grid.low) / (grid.high - grid.low)) : theme.soft;
        context.fillRect(LEFT + column * cell, row * ROW + 1, Math.max(1, cell - (cell > 6 ? 1 : 0)), ROW - 2);
      });
    });
    context.fillStyle = theme.dim;
    context.textBaseline = "top";
    context.textAlign = "center";
    const every = Math.ceil(grid.steps.length / Math.max(1, Math.floor((width - LEFT) / 70)));
    grid.steps.forEach((step, column) => {
      if (column % every === 0) context.fillText(String(step), LEFT + (column + 0.5) * cell, grid.rows.length * ROW + 6);
    });
    if (this.at) {
      context.strokeStyle = theme.ink;
      context.lineWidth = 2;
      context.strokeRect(LEFT + this.at.column * cell, this.at.row * ROW + 1, cell, ROW - 2);
    }
    this.drawScale(grid);
  }

  drawScale(grid) {
    const size = fit(this.bar);
    if (!size) return;
    for (let x = 0; x < size.width; x += 1) {
      size.context.fillStyle = colour(x / size.width);
      size.context.fillRect(x, 0, 1, size.height);
    }
    this.low.textContent = figure(this.unscaled(grid.low));
    this.high.textContent = figure(this.unscaled(grid.high));
  }

  moved(event) {
    const { rows, steps } = this.shownGrid ?? { rows: [], steps: [] };
    const box = this.plot.getBoundingClientRect();
    const row = Math.floor((event.clientY - box.top) / ROW);
    const column = Math.floor(((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * steps.length);
    this.tell(row >= 0 && row < rows.length && column >= 0 && column < steps.length ? { row, column } : null);
  }

  pressed(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const { rows, steps } = this.shownGrid ?? { rows: [], steps: [] };
    if (!moves[event.key] || !rows.length) return;
    event.preventDefault();
    const from = this.at ?? { row: 0, column: steps.length - 1 };
    const move = this.at ? moves[event.key] : [0, 0];
    this.tell({
      row: Math.min(rows.length - 1, Math.max(0, from.row + move[0])),
      column: Math.min(steps.length - 1, Math.max(0, from.column + move[1])),
    });
  }

  tell(at) {
    this.at = at;
    if (at) {
      const [layer, values] = this.shownGrid.rows[at.row];
      const step = this.shownGrid.steps[at.column];
      this.read.textContent = `${layer}, ${this.xName} ${step}: ${figure(values.get(step))}`;
    } else {
      this.read.textContent = " ";
    }
    this.redraw();
  }

  tabulate() {
    const { rows, steps } = this.grid();
    const shown = steps.slice(-LONGEST_TABLE);
    this.table.replaceChildren(
      h(
        "table",
        {},
        h("caption", {}, `${this.chosen.label}, the last ${shown.length} reports`),
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Layer"), shown.map((step) => h("th", { scope: "col" }, `${this.xName} ${step}`)))),
        h("tbody", {}, rows.map(([layer, values]) => h("tr", {}, h("th", { scope: "row" }, layer), shown.map((step) => h("td", { class: "number" }, figure(values.get(step))))))),
      ),
    );
  }
}
