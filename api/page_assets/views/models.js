// The registry of models: what each is, what it came from, and its files.

import { getPatiently, may, query } from "../lib/api.js";
import { debounced, h, toast } from "../lib/dom.js";
import { dropZone } from "../lib/drop.js";
import { ago, bytes, count, dateTime, percent } from "../lib/format.js";
import { datasetNames } from "../lib/names.js";
import { Uploads } from "../lib/uploads.js";
import { smaller, trained } from "../model/facts.js";

const PAGE = 50;
const COLUMNS = [["Model"], ["Trained on", "wide-only"], ["Network and method", "wide-only"], ["Accuracy", "figure"], ["Size", "figure"], ["Arithmetic", "wide-only"], ["Came from", "wide-only"], ["Made", "wide-only"]];

class Models {
  constructor(signal) {
    this.signal = signal;
    this.rows = [];
    this.names = new Map();
    this.search = h("input", { type: "search", id: "search", placeholder: "Name, data set, network, method", "aria-label": "Search models" });
    this.search.addEventListener("input", debounced(() => this.find(), 150));
    this.status = h("p", { class: "hint", id: "count", role: "status" });
    this.body = h("tbody");
    this.empty = h("p", { class: "notice", hidden: true }, "No models yet: each job that succeeds leaves one. ", h("a", { href: "#/new" }, "Train the first"), ".");
    this.next = h("button", { type: "button", hidden: true, onclick: () => this.more() }, "Older models");
    this.table = h(
      "div",
      { class: "card scroll", tabindex: "0", role: "region", "aria-label": "Models" },
      h("table", { id: "models" }, h("caption", { class: "unseen" }, "Models, newest first"), h("thead", {}, h("tr", {}, COLUMNS.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)))), this.body),
    );
    this.uploads = new Uploads({ path: "/v1/models", checking: "All bytes are there. A worker checks it from its header to its last value …", signal });
    this.element = h("div", { class: "stack" }, h("h1", {}, "Models"), may("write") ? this.dropZone() : "", this.uploads.element, h("div", { class: "filters", role: "group", "aria-label": "Filters" }, this.search, this.status), this.empty, this.table, h("div", {}, this.next));
  }

  dropZone() {
    return dropZone({
      id: "drop",
      title: "Drop a model here",
      hint: ["A safetensors file: a packed model of this service, to predict with and to train from; or full-precision weights of one of its networks, with torchvision's names, to train from."],
      choices: [{ label: "Choose a file", input: { id: "file", accept: ".safetensors" } }],
      take: (entries) => this.take(entries),
    });
  }

  async take(entries) {
    for (const { file } of entries) {
      const row = await this.uploads.send(file.name.replace(/\.safetensors$/, ""), () => file);
      if (!row) continue;
      toast(`${row.name}: checked and kept.`);
      this.rows.unshift(row);
      this.show();
    }
  }

  async more() {
    const page = await getPatiently(`/v1/models${query({ limit: PAGE, after: this.rows.at(-1)?.id })}`, { signal: this.signal });
    this.rows.push(...page.data);
    this.complete = !page.has_more;
    this.show();
  }

  /** What is searched for is looked for in all models. */
  async find() {
    this.show();
    while (this.search.value.trim() && !this.complete && !this.signal.aborted) await this.more();
  }

  show() {
    const words = this.search.value.trim().toLowerCase();
    const told = (row) => [row.name, row.id, row.architecture.name, row.method?.name, row.lineage.dataset, this.names.get(row.lineage.dataset)].join(" ").toLowerCase();
    const shown = words ? this.rows.filter((row) => told(row).includes(words)) : this.rows;
    this.body.replaceChildren(...shown.map((row) => this.row(row)));
    this.status.textContent = `${shown.length}${this.complete ? "" : "+"} ${shown.length === 1 ? "model" : "models"}`;
    this.empty.hidden = this.rows.length > 0;
    this.table.hidden = !this.rows.length;
    this.next.hidden = this.complete;
  }

  row(row) {
    const { lineage } = row;
    const cells = [
      [this.names.get(lineage.dataset) ?? lineage.dataset ?? "–", "wide-only"],
      [trained(row), "wide-only"],
      [percent(row.metrics?.validation_accuracy), "figure number"],
      [[bytes(row.size), h("small", {}, smaller(row))], "figure number"],
      [row.arithmetic ?? "–", "wide-only"],
      [origin(row), "wide-only"],
      [h("span", { title: dateTime(row.created_at) }, ago(row.created_at)), "wide-only"],
    ];
    const facts = row.format === "weights" ? "full precision, to train from" : row.format === "trees" ? `predict ${row.architecture.target} from ${count(row.architecture.columns.length)} columns` : `${count(row.classes?.length)} classes · ${percent((row.binary_parameters ?? 0) / (row.parameters || 1))} of weights at 1 bit`;
    return h("tr", { dataset: { model: row.id } }, h("th", { scope: "row" }, h("a", { href: `#/models/${row.id}` }, row.name || row.id), h("small", {}, facts)), cells.map(([value, kind]) => h("td", { class: kind }, value)));
  }
}

/** What a model came from, in one cell. */
function origin({ source, lineage }) {
  if (source === "upload") return "an upload";
  const parts = [lineage.job ? h("a", { href: `#/jobs/${lineage.job}` }, "its job") : ""];
  if (lineage.parent) parts.push(", started from ", reference(lineage.parent));
  if (lineage.teacher) parts.push(", taught by ", reference(lineage.teacher));
  return parts;
}

const reference = (id) => h("a", { href: `#/${id.startsWith("job_") ? "jobs" : "models"}/${id}`, class: "mono" }, `…${id.slice(-6)}`);

export default {
  path: "/models",
  title: "Models",
  order: 4,
  async show(main, { signal }) {
    const view = new Models(signal);
    main.append(view.element);
    try {
      await view.more();
      view.names = await datasetNames(signal);
      view.show();
    } catch (error) {
      if (!signal.aborted) main.append(h("p", { class: "notice bad" }, error.message));
    }
  },
};
