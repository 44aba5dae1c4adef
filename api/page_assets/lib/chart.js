// A line chart on canvas that stays quick with 100,000 points: each column of pixels is drawn from the least and the
// greatest value in it. Zoom by dragging, a crosshair that reads values, a logarithmic scale, smoothing, and the same
// figures as a table for those who cannot see it.

import { clear, colours, fit, linearTicks, logTicks } from "./canvas.js";
import { freshId, h, onceAFrame } from "./dom.js";
import { figure } from "./format.js";

const LEFT = 58;
const RIGHT = 12;
const TOP = 8;
const BOTTOM = 24;
const LONGEST_TABLE = 60;
const DASHES = [[], [6, 3], [2, 3], [9, 3, 2, 3]];

/** One curve: ascending `xs` with `ys`, which grow. A value that is not finite is a gap. */
class Curve {
  constructor(name, index) {
    this.name = name;
    this.index = index;
    this.shown = true;
    this.clear();
  }

  clear() {
    this.xs = new Float64Array(1024);
    this.ys = new Float64Array(1024);
    this.length = 0;
    this.smoothed = null;
  }

  /** Add a point, or replace the one at this x: steps are repeated after a crash. */
  add(x, y) {
    const value = y ?? NaN;
    this.smoothed = null;
    if (this.length && x <= this.xs[this.length - 1]) {
      const at = this.indexOf(x);
      if (this.xs[at] === x) this.ys[at] = value;
      return;
    }
    if (this.length === this.xs.length) {
      for (const name of ["xs", "ys"]) {
        const grown = new Float64Array(2 * this.length);
        grown.set(this[name]);
        this[name] = grown;
      }
    }
    this.xs[this.length] = x;
    this.ys[this.length] = value;
    this.length += 1;
  }

  /** The first index whose x is not below this one. */
  indexOf(x) {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.xs[middle] < x) low = middle + 1;
      else high = middle;
    }
    return Math.min(low, Math.max(0, this.length - 1));
  }

  nearest(x) {
    const at = this.indexOf(x);
    return at > 0 && x - this.xs[at - 1] < this.xs[at] - x ? at - 1 : at;
  }

  /** An exponential mean, corrected for its start; `weight` of what was before. */
  smooth(weight) {
    if (!weight) return this.ys;
    if (this.smoothed?.weight === weight) return this.smoothed.values;
    const values = new Float64Array(this.length);
    let sum = 0;
    let norm = 0;
    for (let index = 0; index < this.length; index += 1) {
      const y = this.ys[index];
      if (Number.isFinite(y)) {
        sum = weight * sum + (1 - weight) * y;
        norm = weight * norm + (1 - weight);
      }
      values[index] = Number.isFinite(y) ? sum / norm : NaN;
    }
    this.smoothed = { weight, values };
    return values;
  }
}

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
    const range = this.rangeOf(first, last);
    const scale = {
      x: (x) => LEFT + ((x - first) / (last - first)) * (width - LEFT - RIGHT),
      y: (y) => {
        const share = this.isLog ? (Math.log(y) - Math.log(range[0])) / (Math.log(range[1]) - Math.log(range[0])) : (y - range[0]) / (range[1] - range[0]);
        return height - BOTTOM - share * (height - TOP - BOTTOM);
      },
    };
    this.scale = scale;
    this.axes(context, { width, height, first, last, range, scale, theme });
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
        this.line(context, curve, curve.ys, first, last, scale, width, 1);
        context.globalAlpha = 1;
      }
      this.line(context, curve, curve.smooth(this.weight), first, last, scale, width, 1.6);
    }
    context.restore();
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

  axes(context, { width, height, first, last, range, scale, theme }) {
    context.font = "11px system-ui, sans-serif";
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    const rows = this.isLog ? logTicks(range[0], range[1]) : linearTicks(range[0], range[1], 5);
    for (const value of rows) {
      const y = Math.round(scale.y(value)) + 0.5;
      context.strokeStyle = theme.line;
      context.beginPath();
      context.moveTo(LEFT, y);
      context.lineTo(width - RIGHT, y);
      context.stroke();
      context.fillStyle = theme.dim;
      context.fillText(this.format(value), LEFT - 6, y);
    }
    context.textBaseline = "top";
    context.textAlign = "center";
    const columns = linearTicks(first, last, Math.max(2, Math.floor(width / 110)));
    for (const value of columns) context.fillText(this.xFormat(value), scale.x(value), height - BOTTOM + 7);
  }

  line(context, curve, ys, first, last, scale, width, thickness) {
    const begin = Math.max(0, curve.indexOf(first) - 1);
    const end = Math.min(curve.length, curve.indexOf(last) + 2);
    context.lineWidth = thickness;
    context.lineJoin = "round";
    context.beginPath();
    if (end - begin > 3 * width) this.columns(context, curve, ys, begin, end, scale);
    else this.points(context, curve, ys, begin, end, scale);
    context.stroke();
    if (end - begin <= 40 && thickness > 1) this.dots(context, curve, ys, begin, end, scale);
  }

  drawable(y) {
    return Number.isFinite(y) && (!this.isLog || y > 0);
  }

  points(context, curve, ys, begin, end, scale) {
    let open = false;
    for (let index = begin; index < end; index += 1) {
      if (!this.drawable(ys[index])) {
        open = false;
        continue;
      }
      const x = scale.x(curve.xs[index]);
      const y = scale.y(ys[index]);
      if (open) context.lineTo(x, y);
      else context.moveTo(x, y);
      open = true;
    }
  }

  dots(context, curve, ys, begin, end, scale) {
    context.fillStyle = context.strokeStyle;
    for (let index = begin; index < end; index += 1) {
      if (!this.drawable(ys[index])) continue;
      context.beginPath();
      context.arc(scale.x(curve.xs[index]), scale.y(ys[index]), 2.2, 0, 7);
      context.fill();
    }
  }

  /** For each column of pixels a stroke from its least to its greatest value, joined with the next column's. */
  columns(context, curve, ys, begin, end, scale) {
    let column = -1;
    let low;
    let high;
    let enter;
    let leave;
    const flush = () => {
      if (column < 0) return;
      context.lineTo(column, scale.y(enter));
      context.lineTo(column, scale.y(low));
      context.lineTo(column, scale.y(high));
      context.lineTo(column, scale.y(leave));
    };
    for (let index = begin; index < end; index += 1) {
      const y = ys[index];
      if (!this.drawable(y)) continue;
      const x = Math.round(scale.x(curve.xs[index]));
      if (x !== column) {
        flush();
        column = x;
        low = high = enter = y;
      }
      if (y < low) low = y;
      if (y > high) high = y;
      leave = y;
    }
    flush();
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
      if (!this.drawable(y)) continue;
      context.fillStyle = theme.series[curve.index % theme.series.length];
      context.beginPath();
      context.arc(this.scale.x(curve.xs[at]), this.scale.y(y), 3.5, 0, 7);
      context.fill();
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
