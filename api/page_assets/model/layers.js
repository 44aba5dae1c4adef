// The weights of a model, layer by layer: the first layer's filters as pictures, signs where a weight is one bit.

import { Problem, get, query } from "../lib/api.js";
import { colours } from "../lib/canvas.js";
import { h, onceAFrame } from "../lib/dom.js";
import { bytes, count, figure, percent } from "../lib/format.js";
import { decoded, kernels, planes } from "./weights.js";

const FILTERS = 64;
const LONGEST_TABLE = 64;

export class Layers {
  constructor(model, signal) {
    Object.assign(this, { model, signal, first: 0, arrangement: "kernels" });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.plot = h("div", { class: "weights scroll", tabindex: "0", role: "img" }, this.canvas);
    this.choice = h("select", { id: "layer", onchange: () => this.choose(this.choice.value) });
    this.facts = h("p", { class: "dim", role: "status" }, "A worker reads the model …");
    this.read = h("p", { class: "hint number" }, " ");
    this.table = h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Weights by filter" });
    this.details = h("details", {}, h("summary", {}, "As a table"), this.table);
    this.details.addEventListener("toggle", () => this.details.open && this.tabulate());
    this.back = h("button", { type: "button", class: "small", onclick: () => this.page(-FILTERS) }, "← Filters before");
    this.next = h("button", { type: "button", class: "small", onclick: () => this.page(FILTERS) }, "Filters after →");
    this.arrange = h("div", { class: "row", role: "group", "aria-label": "Arrangement" }, this.arrangements());
    this.legend = h("p", { class: "hint signs" });
    this.element = h(
      "section",
      { class: "card", id: "layers" },
      h("div", { class: "row between" }, h("h2", {}, "Weights"), h("div", { class: "row" }, h("label", {}, "Layer ", this.choice), this.arrange)),
      this.facts,
      this.plot,
      h("div", { class: "row between" }, this.legend, this.read),
      h("div", { class: "row" }, this.back, this.next),
      this.details,
    );
    this.plot.addEventListener("pointermove", (event) => this.moved(event));
    this.plot.addEventListener("pointerleave", () => (this.read.textContent = " "));
    this.redraw = onceAFrame(() => this.draw());
    document.addEventListener("themechange", this.redraw, { signal });
    const observer = new ResizeObserver(this.redraw);
    observer.observe(this.plot);
    signal.addEventListener("abort", () => observer.disconnect());
  }

  arrangements() {
    return [["kernels", "Kernels"], ["planes", "Bit planes"]].map(([name, label]) =>
      h("button", { type: "button", class: "chip", "aria-pressed": String(name === this.arrangement), onclick: () => {
        this.arrangement = name;
        for (const [index, button] of [...this.arrange.children].entries()) button.setAttribute("aria-pressed", String(index === (name === "planes" ? 1 : 0)));
        this.redraw();
      } }, label),
    );
  }

  async load() {
    await this.asking(async () => {
      this.rows = (await get(`/v1/models/${this.model.id}/layers`, { signal: this.signal })).data;
      this.choice.replaceChildren(...this.rows.map((row) => h("option", { value: row.name }, `${row.name}: ${row.shape.join(" x ")}, ${row.bits === 1 ? "1 bit" : "32 bits"}`)));
      await this.fetch(this.rows[0].name);
    });
  }

  choose(name) {
    this.first = 0;
    return this.asking(() => this.fetch(name));
  }

  page(by) {
    this.first = Math.max(0, this.first + by);
    return this.asking(() => this.fetch(this.shown.name));
  }

  async asking(work) {
    try {
      await work();
    } catch (error) {
      if (!this.signal.aborted) this.facts.replaceChildren(h("span", { class: "fault" }, error instanceof Problem ? error.message : "The service does not answer; choose the layer again."));
    }
  }

  async fetch(name) {
    const answer = await get(`/v1/models/${this.model.id}/layers/${name}${query({ first: this.first, count: FILTERS })}`, { signal: this.signal });
    this.shown = { ...answer, values: decoded(answer) };
    this.choice.value = name;
    this.tell();
    this.draw();
    if (this.details.open) this.tabulate();
  }

  tell() {
    const { name, shape, bits, weights, positive_share: share, first, count: number } = this.shown;
    const size = `${count(weights)} weights in ${bytes((weights * bits) / 8)}`;
    this.facts.textContent = bits === 1 ? `${size}, which would be ${bytes(4 * weights)} in full precision. ${percent(share)} of the signs are +1.` : `${size}, in full precision.`;
    const part = number < shape[0] ? `filters ${first + 1} to ${first + number} of ${count(shape[0])}` : `all ${count(shape[0])} filters`;
    this.plot.setAttribute("aria-label", `${name}, ${part}: ${bits === 1 ? "signs of the weights" : "weights"}. The table below has each filter's figures.`);
    this.plot.dataset.layer = name;
    this.back.hidden = first === 0;
    this.next.hidden = first + number >= shape[0];
    this.arrange.hidden = bits !== 1 || shape.length !== 4 || shape[2] * shape[3] === 1;
    this.element.dataset.filters = part;
  }

  draw() {
    if (!this.shown || !this.plot.clientWidth) return;
    const theme = colours(this.plot);
    const style = getComputedStyle(this.plot);
    const paint = { ...theme, card: style.getPropertyValue("--card").trim(), width: this.plot.clientWidth - 16 };
    const arranged = this.arrangement === "planes" && !this.arrange.hidden ? planes : kernels;
    this.placed = arranged(this.canvas, this.shown, paint);
    const signs = this.shown.bits === 1;
    const key = (name, text) => [h("i", { class: `swatch ${name}`, "aria-hidden": "true" }), text];
    const inColour = this.placed.colour ? ["each filter as the picture that it answers to most"] : [...key("plus", signs ? "+1" : "positive"), " ", ...key("minus", signs ? "−1" : "negative")];
    this.legend.replaceChildren(...inColour, this.placed.told ? ` · ${this.placed.told}` : "");
  }

  moved(event) {
    if (!this.placed) return;
    const box = this.canvas.getBoundingClientRect();
    const found = this.placed.at(event.clientX - box.left, event.clientY - box.top);
    const { values, shape, bits, first } = this.shown;
    if (!found) {
      this.read.textContent = " ";
      return;
    }
    const [out, channel, place] = found;
    const area = shape.slice(2).reduce((a, b) => a * b, 1);
    const value = values[(out * shape[1] + channel) * area + place];
    const where = shape.length === 4 && area > 1 ? `, row ${Math.floor(place / shape[3]) + 1}, column ${(place % shape[3]) + 1}` : "";
    this.read.textContent = `filter ${first + out + 1}, input ${channel + 1}${where}: ${bits === 1 ? (value > 0 ? "+1" : "−1") : figure(value)}`;
  }

  tabulate() {
    const { shape, values, first, count: number, scales, bits } = this.shown;
    const each = shape.slice(1).reduce((a, b) => a * b, 1);
    const rows = Array.from({ length: Math.min(number, LONGEST_TABLE) }, (_, index) => {
      const part = values.subarray(index * each, (index + 1) * each);
      const positive = part.reduce((sum, value) => sum + (value > 0), 0) / each;
      const size = part.reduce((sum, value) => sum + Math.abs(value), 0) / each;
      return [first + index + 1, percent(positive), bits === 1 ? figure(scales?.[index]) : figure(size)];
    });
    const heads = ["Filter", "Positive", bits === 1 ? "Scale α" : "Mean size"];
    this.table.replaceChildren(h("table", {}, h("caption", {}, "By filter"), h("thead", {}, h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, rows.map(([name, ...rest]) => h("tr", {}, h("th", { scope: "row" }, name), rest.map((value) => h("td", { class: "number" }, value)))))));
  }
}
