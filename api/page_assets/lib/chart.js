// A line chart on canvas that stays quick with 100,000 points: each column of pixels is drawn from the least and the
// greatest value in it. Zoom by dragging, a crosshair that reads values, a logarithmic scale, smoothing, and the same
// figures as a table for those who cannot see it.

import { clear, colours, fit } from "./canvas.js";
import { Curve } from "./curve.js";
import { freshId, h, onceAFrame } from "./dom.js";
import { figure } from "./format.js";
import { BOTTOM, LEFT, RIGHT, TOP, axes, dot, scaleOf, stroke } from "./strokes.js";

const LONGEST_TABLE = 60;
const DASHES = [[], [6, 3], [2, 3], [9, 3, 2, 3]];

export class LineChart {
  /** `format`: of values; `xFormat`: of positions; `smoothing`: offer it; `level`: of the heading;
   *  `onzoom`: told when a part is shown, e.g. to fetch more points. */
  constructor({ title, xName = "step", format = figure, xFormat = (x) => figure(x), smoothing = false, log = true, level = 2, onzoom } = {}) {
    Object.assign(this, { title, xName, format, xFormat, onzoom });
    this.curves = [];
    this.view = null; // [first, last] x while zoomed
    this.isLog = false;
    this.weight = 0;
    this.cursor = null;
    this.build({ smoothing, log, level });
    this.redraw = onceAFrame(() => this.draw());
    this.connect();
  }

  build({ smoothing, log, level }) {
    const named = freshId("chart");
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.over = h("canvas", { "aria-hidden": "true" });
    this.nothing = h("p", { class: "nothing" }, "Nothing reported yet.");
    this.plot = h("div", { class: "plot", tabindex: "0", role: "group", "aria-describedby": `${named}-keys` }, this.canvas, this.over, this.nothing);
    this.legend = h("ul", { class: "legend" });
    this.spoken = h("p", { class: "unseen", "aria-live": "polite" });
    this.back = h("button", { type: "button", class: "small", hidden: true, onclick: () => this.zoom(null) }, "Whole run");
    const tune = h("div", { class: "tune" }, this.back);
    if (smoothing) {
      tune.append(h("label", {}, "Smooth", h("input", { type: "range", min: "0", max: "0.99", step: "0.01", value: "0", oninput: (event) => this.setSmoothing(Number(event.target.value)) })));
    }
    if (log) {
      tune.append(h("label", {}, h("input", { type: "checkbox", onchange: (event) => this.setLog(event.target.checked) }), "Log"));
    }
    this.table = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": `${this.title}, values` });
    const details = h("details", {}, h("summary", {}, "As a table"), this.table);
    details.addEventListener("toggle", () => details.open && this.tabulate());
    this.tools = tune;
    this.element = h(
      "figure",
      { class: "chart card" },
      h("header", {}, h(`h${level}`, {}, this.title), tune),
      this.plot,
      this.legend,
      this.spoken,
      h("p", { class: "unseen", id: `${named}-keys` }, "Arrow keys read values, plus and minus zoom, Escape shows the whole run."),
      details,
    );
  }

  connect() {
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.plot);
    document.addEventListener("themechange", this.redraw);
    this.plot.addEventListener("pointermove", (event) => this.moved(event));
    this.plot.addEventListener("pointerleave", () => this.point(null));
    this.plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.dragged = this.xAt(event);
      this.plot.setPointerCapture(event.pointerId);
    });
    this.plot.addEventListener("pointerup", (event) => this.released(event));
    this.plot.addEventListener("pointercancel", () => (this.dragged = undefined));
    this.plot.addEventListener("dblclick", () => this.zoom(null));
    this.plot.addEventListener("keydown", (event) => this.pressed(event));
  }

  /** Let go of what outlives the element. */
  destroy() {
    this.observer.disconnect();
    document.removeEventListener("themechange", this.redraw);
  }

  curve(name) {
    let found = this.curves.find((curve) => curve.name === name);
    if (!found) {
      found = new Curve(name, this.curves.length);
      this.curves.push(found);
      this.list();
    }
    return found;
  }

  /** Replace a curve's points. */
  set(name, xs, ys) {
    const curve = this.curve(name);
    curve.clear();
    for (let index = 0; index < xs.length; index += 1) curve.add(xs[index], ys[index]);
    this.redraw();
  }

  add(name, x, y) {
    this.curve(name).add(x, y);
    this.redraw();
  }

  /** Forget every curve. */
  reset() {
    this.curves = [];
    this.view = null;
    this.list();
    this.redraw();
  }

  setLog(on) {
    this.isLog = on;
    this.redraw();
  }

  setSmoothing(weight) {
    this.weight = weight;
    this.redraw();
  }

  zoom(view) {
    this.view = view;
    this.back.hidden = view === null;
    if (view && this.onzoom) this.onzoom(view);
    this.redraw();
  }

  // --- geometry ---

  get shown() {
    return this.curves.filter((curve) => curve.shown && curve.length);
  }

  /** The least and greatest x of all that is drawn. */
  extent() {
    const curves = this.shown;
    if (!curves.length) return null;
    const first = Math.min(...curves.map((curve) => curve.xs[0]));
    const last = Math.max(...curves.map((curve) => curve.xs[curve.length - 1]));
    return first < last ? [first, last] : [first - 0.5, last + 0.5];
  }

  xAt(event) {
    const box = this.plot.getBoundingClientRect();
    const [first, last] = this.view ?? this.extent() ?? [0, 1];
    const share = (event.clientX - box.left - LEFT) / Math.max(1, box.width - LEFT - RIGHT);
    return first + Math.min(1, Math.max(0, share)) * (last - first);
  }

  // --- drawing ---

  draw() {
    const size = fit(this.canvas);
    fit(this.over);
    const extent = this.extent();
    this.nothing.hidden = extent !== null;
    this.describe(extent);
    if (!size || !extent) {
      clear(this.canvas);
      return;
    }
    const { context, width, height } = size;
    const theme = colours(this.plot);
    const [first, last] = this.view ?? extent;
    const [low, high] = this.rangeOf(first, last);
    this.scale = scaleOf({ first, last, low, high, isLog: this.isLog, width, height });
    axes(context, this.scale, theme, this);
    context.save();
    context.beginPath();
    context.rect(LEFT, TOP - 2, width - LEFT - RIGHT, height - TOP - BOTTOM + 4);
    context.clip();
    for (const curve of this.shown) {
      const colour = theme.series[curve.index % theme.series.length];
      context.strokeStyle = colour;
      context.setLineDash(DASHES[Math.floor(curve.index / theme.series.length) % DASHES.length]);
      if (this.weight) {
        context.globalAlpha = 0.25;
        stroke(context, curve, curve.ys, this.scale, 1);
        context.globalAlpha = 1;
      }
      stroke(context, curve, curve.smooth(this.weight), this.scale, 1.6);
    }
    context.restore();
    this.drawOver();
    this.readOut();
  }

  /** The least and greatest value in view, with a little room. */
  rangeOf(first, last) {
    let low = Infinity;
    let high = -Infinity;
    for (const curve of this.shown) {
      const values = curve.ys;
      const end = Math.min(curve.length - 1, curve.indexOf(last));
      for (let index = Math.max(0, curve.indexOf(first) - 1); index <= end; index += 1) {
        const value = values[index];
        if (!Number.isFinite(value) || (this.isLog && value <= 0)) continue;
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
    if (low > high) return this.isLog ? [0.1, 1] : [0, 1];
    if (this.isLog) return low === high ? [low / 2, high * 2] : [low / 1.1, high * 1.1];
    const room = high === low ? Math.abs(high) / 10 || 0.5 : (high - low) / 20;
    return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
  }

  // --- reading ---

  moved(event) {
    const x = this.xAt(event);
    this.point(x);
    if (this.dragged !== undefined) this.drawOver(this.dragged, x);
  }

  released(event) {
    const from = this.dragged;
    this.dragged = undefined;
    if (from === undefined) return;
    const to = this.xAt(event);
    const [first, last] = this.view ?? this.extent() ?? [0, 0];
    if (Math.abs(to - from) > (last - first) / 50) this.zoom([Math.min(from, to), Math.max(from, to)]);
    else this.drawOver();
  }

  pressed(event) {
    const extent = this.extent();
    if (!extent) return;
    const [first, last] = this.view ?? extent;
    const curve = this.shown[0];
    const at = curve.nearest(this.cursor ?? last);
    const far = event.shiftKey ? Math.max(1, Math.round(curve.length / 20)) : 1;
    const middle = this.cursor ?? (first + last) / 2;
    const half = (last - first) / 2;
    const actions = {
      ArrowLeft: () => this.point(curve.xs[Math.max(0, at - far)], true),
      ArrowRight: () => this.point(curve.xs[Math.min(curve.length - 1, at + far)], true),
      Home: () => this.point(curve.xs[0], true),
      End: () => this.point(curve.xs[curve.length - 1], true),
      "+": () => this.zoom([Math.max(extent[0], middle - half / 2), Math.min(extent[1], middle + half / 2)]),
      "-": () => this.zoom(half * 4 >= extent[1] - extent[0] ? null : [Math.max(extent[0], middle - half * 2), Math.min(extent[1], middle + half * 2)]),
      Escape: () => this.zoom(null),
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  }

  point(x, aloud = false) {
    this.cursor = x;
    this.drawOver();
    this.readOut();
    if (aloud) this.spoken.textContent = `${this.xName} ${this.xFormat(x)}: ${this.shown.map((curve) => `${curve.name} ${this.format(curve.ys[curve.nearest(x)])}`).join(", ")}`;
  }

  drawOver(from, to) {
    const context = clear(this.over);
    if (!this.scale || !context || this.cursor === null) return;
    const theme = colours(this.plot);
    const height = this.plot.clientHeight;
    if (from !== undefined) {
      context.fillStyle = theme.accent;
      context.globalAlpha = 0.15;
      context.fillRect(this.scale.x(from), TOP, this.scale.x(to) - this.scale.x(from), height - TOP - BOTTOM);
      context.globalAlpha = 1;
    }
    const lead = this.shown[0];
    if (!lead) return;
    const x = this.scale.x(lead.xs[lead.nearest(this.cursor)]);
    context.strokeStyle = theme.dim;
    context.setLineDash([3, 3]);
    context.beginPath();
    context.moveTo(x, TOP);
    context.lineTo(x, height - BOTTOM);
    context.stroke();
    context.setLineDash([]);
    for (const curve of this.shown) {
      const at = curve.nearest(this.cursor);
      const y = curve.smooth(this.weight)[at];
      context.fillStyle = theme.series[curve.index % theme.series.length];
      if (this.scale.drawable(y)) dot(context, this.scale.x(curve.xs[at]), this.scale.y(y), 3.5);
    }
  }

  list() {
    this.at = h("span", { class: "at number" });
    this.legend.replaceChildren(
      h("li", {}, this.at),
      ...this.curves.map((curve) => {
        curve.value = h("span", { class: "value" });
        const button = h(
          "button",
          {
            type: "button",
            "aria-pressed": String(curve.shown),
            onclick: () => {
              curve.shown = !curve.shown;
              button.setAttribute("aria-pressed", String(curve.shown));
              this.redraw();
            },
          },
          h("i", {}),
          curve.name,
          curve.value,
        );
        button.firstChild.style.color = `var(--series-${(curve.index % 8) + 1})`;
        return h("li", {}, button);
      }),
    );
  }

  /** The legend tells the values at the crosshair, else the last ones. */
  readOut() {
    const lead = this.shown[0];
    if (!lead) return;
    const x = this.cursor === null ? lead.xs[lead.length - 1] : lead.xs[lead.nearest(this.cursor)];
    this.at.textContent = `${this.xName} ${this.xFormat(x)}`;
    for (const curve of this.curves) {
      const at = this.cursor === null ? curve.length - 1 : curve.nearest(this.cursor);
      curve.value.textContent = curve.length && curve.shown ? this.format(curve.ys[at]) : "";
    }
  }

  describe(extent) {
    const text = this.shown.map((curve) => `${curve.name}: ${curve.length} points, last ${this.format(curve.ys[curve.length - 1])}`);
    this.plot.setAttribute("aria-label", extent ? `${this.title}, by ${this.xName}. ${text.join("; ")}` : `${this.title}: nothing reported yet`);
    this.plot.dataset.points = String(Math.max(0, ...this.shown.map((curve) => curve.length)));
  }

  tabulate() {
    const curves = this.shown;
    const lead = curves.reduce((longest, curve) => (curve.length > (longest?.length ?? 0) ? curve : longest), null);
    if (!lead) {
      this.table.replaceChildren(h("p", {}, "Nothing reported yet."));
      return;
    }
    const stride = Math.ceil(lead.length / LONGEST_TABLE);
    const rows = [];
    for (let index = lead.length - 1; index >= 0; index -= stride) {
      const x = lead.xs[index];
      rows.push(h("tr", {}, h("th", { scope: "row" }, this.xFormat(x)), curves.map((curve) => h("td", { class: "number" }, this.format(curve.ys[curve.nearest(x)])))));
    }
    const caption = `${this.title}${stride > 1 ? `, every ${stride} points` : ""}, the last ones first`;
    this.table.replaceChildren(
      h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, this.xName), curves.map((curve) => h("th", { scope: "col" }, curve.name)))), h("tbody", {}, rows)),
    );
  }
}
