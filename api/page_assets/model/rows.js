// Give trees a row of a table, see what they predict. The service predicts.

import { Problem, post } from "../lib/api.js";
import { freshId, h } from "../lib/dom.js";
import { figure, percent } from "../lib/format.js";

const SHOWN = 40;
const TOP = 5;

export class Rows {
  constructor(model, signal) {
    Object.assign(this, { model, signal });
    const columns = model.architecture.columns.slice(0, SHOWN);
    this.inputs = new Map(columns.map((column) => [column, this.input(column)]));
    this.result = h("div", { id: "predictions", "aria-live": "polite" });
    const more = model.architecture.columns.length > SHOWN ? h("p", { class: "hint" }, `The other ${model.architecture.columns.length - SHOWN} columns count as missing here; over HTTP they can be given.`) : "";
    const form = h("form", { class: "stack", novalidate: "" }, h("div", { class: "fields" }, columns.map((column) => this.field(column))), more, h("div", { class: "row" }, h("button", { class: "primary", id: "predict" }, `Predict ${model.architecture.target}`)), this.result);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.predict();
    });
    this.element = h("section", { class: "card", "aria-label": "Playground" }, h("h2", {}, "Try a row"), form);
  }

  input({ kind }) {
    const id = freshId("column");
    if (kind === "boolean") return h("select", { id }, ["–", "true", "false"].map((value) => h("option", {}, value)));
    return h("input", { id, type: "text", inputmode: kind === "number" ? "decimal" : null, autocomplete: "off", placeholder: "missing" });
  }

  field(column) {
    const input = this.inputs.get(column);
    return h("div", { class: "field" }, h("label", { class: "label", for: input.id }, column.name), input);
  }

  get row() {
    const found = {};
    for (const [{ name, kind }, input] of this.inputs) {
      const text = input.value.trim();
      if (!text || text === "–") continue;
      if (kind === "boolean") found[name] = text === "true";
      else found[name] = kind === "number" && !Number.isNaN(Number(text)) ? Number(text) : text;
    }
    return found;
  }

  async predict() {
    try {
      const { predictions } = await post(`/v1/models/${this.model.id}/predict`, { rows: [this.row], top_k: TOP }, { signal: this.signal });
      const [{ value, label, top }] = predictions;
      const verdict = h("p", { class: "verdict" }, h("strong", {}, label ?? figure(value)));
      const others = (top ?? []).map((one) => h("li", {}, `${one.label}: ${percent(one.probability)}`));
      this.result.replaceChildren(verdict, others.length ? h("ul", {}, others) : "");
    } catch (error) {
      if (this.signal.aborted) return;
      const message = error instanceof Problem ? (error.errors?.[0]?.message ?? error.message) : "The service does not answer; try again.";
      this.result.replaceChildren(h("p", { class: "fault", role: "alert" }, message));
    }
  }
}
