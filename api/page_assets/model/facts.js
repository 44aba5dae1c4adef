// What a model is and where it came from, and its files.

import { Problem, get, may, post } from "../lib/api.js";
import { h, toast } from "../lib/dom.js";
import { bytes, count, figure, percent } from "../lib/format.js";

/** How it was made, in one line. */
export function trained({ architecture, method }) {
  const width = architecture.width ? ` x${figure(architecture.width)}` : "";
  const how = method ? ` · ${method.name}${method.preset && method.preset !== "custom" ? ` ${method.preset}` : ""}${method.bits ? `, ${method.bits} bits` : ""}` : "";
  return `${architecture.name}${width}${how}`;
}

/** How much smaller than in full precision, if that is known; empty otherwise. */
export function smaller({ parameters, size, format }) {
  const ratio = (4 * parameters) / size;
  return format === "packed" && parameters && ratio > 1.05 ? `${figure(Number(ratio.toFixed(1)))}x smaller` : "";
}

/** The figures on top of a model's page. */
export function tiles(model) {
  const tile = (name, value, more = "") => h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, more ? h("small", {}, more) : ""));
  const { metrics = {}, architecture, facts } = model;
  if (model.format === "trees") return [...treeTiles(model, tile)];
  const rows = [
    tile("Accuracy", percent(metrics?.validation_accuracy, 2), model.source === "upload" ? "validation, as the file says" : "validation"),
    tile("Size", bytes(model.size), smaller(model) ? `${smaller(model)} than FP32` : ""),
    tile("1-bit weights", model.binary_parameters ? percent(model.binary_parameters / model.parameters) : "none", `of ${count(model.parameters)} parameters`),
    tile("Arithmetic", model.arithmetic ?? "–", facts.isa ? `trained with ${facts.isa} kernels` : "of the gradients"),
    tile("Classes", count(model.classes?.length)),
  ];
  if (architecture.image_size) rows.push(tile("Input", `${architecture.image_size} x ${architecture.image_size}`, architecture.channels === 1 ? "grey" : "RGB"));
  return rows;
}

function* treeTiles({ metrics, architecture, facts, size, arithmetic, classes }, tile) {
  const { kept, full_precision: other } = facts.comparison ?? {};
  const regression = architecture.objective === "regression";
  const quality = (side) => (regression ? figure(side?.validation_r2) : percent(side?.validation_accuracy, 2));
  yield regression ? tile("R²", quality(kept), "validation") : tile("Accuracy", percent(metrics?.validation_accuracy, 2), "validation");
  if (other) yield tile("In full precision", quality(other), `${figure(other.seconds)} s, quantised ${figure(kept.seconds)} s`);
  yield tile("Size", bytes(size), kept ? `${count(kept.best_iteration)} iterations` : "");
  yield tile("Arithmetic", arithmetic ?? "–", "of the histograms");
  yield tile("Predicts", architecture.target, regression ? "a number" : `${count(classes?.length)} classes`);
  yield tile("Columns", count(architecture.columns.length));
}

/** Where the model stands: data set, what it started from and learned from, its job, itself. */
export function lineage(model, names) {
  const { job, dataset, parent, teacher } = model.lineage;
  const place = (id) => `#/${id.startsWith("job_") ? "jobs" : "models"}/${id}`;
  const step = (what, name, href) => h("li", {}, h("small", {}, what), href ? h("a", { href }, name) : h("span", {}, name));
  const steps = [];
  if (dataset) steps.push(step("trained on", names.get(dataset) ?? dataset, "#/datasets"));
  if (parent) steps.push(step("started from", `…${parent.slice(-8)}`, place(parent)));
  if (teacher) steps.push(step("taught by", `…${teacher.slice(-8)}`, place(teacher)));
  if (job) steps.push(step("made by job", `…${job.slice(-8)}`, `#/jobs/${job}`));
  if (model.source === "upload") steps.push(step("came as", "an upload"));
  steps.push(step("this model", trained(model)));
  return h("ol", { class: "lineage", "aria-label": "Lineage" }, steps);
}

/** Buttons that download the model: its file, its card, and as ONNX, which a worker makes first. */
export class Downloads {
  constructor(model, signal) {
    Object.assign(this, { model, signal });
    const url = `/v1/models/${model.id}`;
    this.onnx = h("span");
    const packed = model.format === "packed";
    const trees = model.format === "trees";
    this.element = h(
      "div",
      { class: "row", role: "group", "aria-label": "Downloads" },
      h("a", { class: "button primary", href: `${url}/file`, download: `${model.id}.${trees ? "txt" : "safetensors"}` }, `${packed ? "Packed model" : trees ? "Trees" : "Weights"}, ${bytes(model.size)}`),
      packed ? this.onnx : "",
      h("a", { class: "button", href: `${url}/card`, download: `${model.id}.md` }, "Card"),
      may("write") && model.has_full_weights ? h("a", { class: "button", href: `#/new?weights=${model.lineage.job ?? model.id}` }, "Train from it") : "",
    );
  }

  async load() {
    if (this.model.format !== "packed") return;
    const { data } = await get(`/v1/models/${this.model.id}/exports`, { signal: this.signal });
    this.show(data.find((row) => row.format === "onnx"));
  }

  show(exported) {
    if (exported) this.onnx.replaceChildren(h("a", { class: "button", href: `/v1/models/${this.model.id}/exports/onnx`, download: `${this.model.id}.onnx` }, `ONNX, ${bytes(exported.size)}`));
    else if (may("write")) this.onnx.replaceChildren(h("button", { type: "button", id: "export", onclick: (event) => this.export(event.target) }, "Export to ONNX"));
  }

  async export(button) {
    button.disabled = true;
    button.textContent = "Exporting …";
    try {
      this.show(await post(`/v1/models/${this.model.id}/exports`, { format: "onnx" }, { signal: this.signal }));
      toast("The ONNX file is ready.");
      this.onnx.firstChild.focus();
    } catch (error) {
      if (this.signal.aborted) return;
      toast(error instanceof Problem ? error.message : "The service does not answer; try again.", "bad");
      this.show();
    }
  }
}
