// What one job is and leaves behind: figures, configuration, files.

import { get } from "../lib/api.js";
import { copyButton, h } from "../lib/dom.js";
import { bytes, count, dateTime, examplesOf, figure, flatten, large, percent, plain, seconds } from "../lib/format.js";
import { asCurl, asJson, asPython } from "../lib/snippets.js";

const tile = (name, value, more = "") => h("div", { class: "tile" }, h("dt", {}, name), h("dd", {}, value, more ? h("small", {}, more) : ""));

/** The figures of the moment, or of the end. */
export function tiles(job, files) {
  const progress = job.progress ?? {};
  const result = job.result ?? {};
  const record = job.record ?? {};
  const model = files.find((file) => file.kind === "model");
  const speed = progress.images_per_second ? `${count(Math.round(progress.images_per_second))} ${examplesOf(job.spec)}/s` : "";
  const accuracy = result.validation_accuracy ?? progress.validation_accuracy;
  const rows = [
    tile("Step", count(progress.step), progress.total_steps ? `of ${count(progress.total_steps)}` : ""),
    tile("Epoch", figure(progress.epoch), progress.epochs ? `of ${progress.epochs}` : ""),
    tile("Training loss", figure(progress.loss)),
    ...quality(result, accuracy),
  ];
  if (job.state === "running") rows.push(tile("Time left", seconds(progress.eta_seconds), speed));
  else rows.push(tile("Time", job.ran_seconds ? seconds(job.ran_seconds) : "–", speed));
  if (model?.details.ratio) rows.push(tile("Model size", bytes(model.details.bytes), `${figure(Number(model.details.ratio.toFixed(1)))}x smaller than FP32`));
  else if (model) rows.push(tile("Model size", bytes(model.size)));
  if (result.parameters) rows.push(tile("1-bit weights", percent(result.binary_parameters / result.parameters), `of ${count(result.parameters)} parameters`));
  if (record.arithmetic) rows.push(tile("Arithmetic", record.arithmetic, `kernels ${record.isa}, ${record.threads} ${record.threads === 1 ? "thread" : "threads"}, ${record.device}`));
  return rows;
}

/** How good it is; of trees also how good those from full-precision gradients are. */
function quality(result, accuracy) {
  const { kept, full_precision: other, objective } = result.tabular ?? {};
  const best = result.best_epoch ? `validation, best ${kept ? "iteration" : "epoch"} ${result.best_epoch}` : "validation";
  if (objective === "regression") {
    const rows = [tile("R²", figure(kept.validation_r2), best)];
    return other ? [...rows, tile("In full precision", figure(other.validation_r2), "R²")] : rows;
  }
  const rows = [tile("Accuracy", percent(accuracy), best)];
  return other ? [...rows, tile("In full precision", percent(other.validation_accuracy), "accuracy")] : rows;
}

/** Everything that was asked for, as a table and as programs write it. */
export function configuration(job) {
  const forms = [
    ["Table", null],
    ["JSON", asJson],
    ["curl", asCurl],
    ["Python", asPython],
  ];
  const table = h(
    "div",
    { class: "scroll configuration", tabindex: "0", role: "group", "aria-label": "Configuration as a table" },
    h(
      "table",
      { id: "configuration" },
      h("caption", {}, "What was asked for, with every default filled in"),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Option"), h("th", { scope: "col" }, "Value"))),
      h("tbody", {}, flatten(job.spec).map(([name, value]) => h("tr", {}, h("th", { scope: "row", class: "mono" }, name), h("td", {}, plain(value))))),
    ),
  );
  const body = h("div", {}, table);
  const buttons = forms.map(([name, form], index) =>
    h(
      "button",
      {
        type: "button",
        class: "chip",
        "aria-pressed": String(index === 0),
        onclick: () => {
          buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
          body.replaceChildren(form ? h("pre", { class: "code", tabindex: "0", "aria-label": `Configuration as ${name}` }, form(job.spec)) : table);
          if (form) body.prepend(copyButton(`Copy ${name}`, () => form(job.spec)));
        },
      },
      name,
    ),
  );
  return h("section", { class: "card" }, h("div", { class: "row between" }, h("h2", {}, "Configuration"), h("div", { class: "row", role: "group", "aria-label": "Form" }, buttons)), body, exchanged(job), bits(job), structure(job));
}

function exchanged(job) {
  const told = job.record?.gradients_exchanged;
  if (!told) return "";
  const saved = told.full_precision_bytes - told.bytes_sent;
  const share = told.full_precision_bytes ? Math.round((1000 * saved) / told.full_precision_bytes) / 10 : 0;
  return h("p", { class: "dim" }, `Each of ${told.processes} processes has sent ${figure(told.bytes_sent / 1e6)} MB of gradients${told.gradient_bits ? ` at ${told.gradient_bits} bits: ${figure(saved / 1e6)} MB (${share} %) saved` : ""}.`);
}

function bits(job) {
  const chosen = job.record?.bits_chosen;
  if (!chosen) return "";
  const rows = Object.entries(chosen.layers ?? {});
  return h(
    "details",
    {},
    h("summary", {}, `Bits chosen by layer: ${figure(chosen.average_bits)} on average of a budget of ${figure(chosen.budget)}`),
    h(
      "table",
      {},
      h("caption", {}, "Chosen when the job started"),
      h("thead", {}, h("tr", {}, ["Layer", "Bits", "Kept", "Clip"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, rows.map(([layer, row]) => h("tr", {}, h("th", { scope: "row", class: "mono" }, layer), [row.bits, row.keep, row.clip].map((value) => h("td", { class: "number" }, figure(value)))))),
    ),
  );
}

/** The widths that a search has found, beside those that it began with. */
function structure(job) {
  const found = job.record?.structure;
  if (!found) return "";
  const share = (number, what, budget) => `${large(number)} ${what} (${percent(number / budget)} of the budget)`;
  return h(
    "details",
    { open: "" },
    h("summary", {}, `Found: ${share(found.macs, "multiply-adds", found.macs_budget)}, ${share(found.parameters, "parameters", found.parameters_budget)}`),
    h(
      "table",
      { id: "structure" },
      h("caption", {}, "Channels of each convolution"),
      h("thead", {}, h("tr", {}, ["Layer", "Before", "Found"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, Object.entries(found.widths).map(([layer, width]) => h("tr", {}, h("th", { scope: "row", class: "mono" }, layer), [found.began[layer], width].map((value) => h("td", { class: "number" }, count(value)))))),
    ),
  );
}

/** The files of a job, newest fetched each time. */
export class Files {
  constructor(jobId, signal) {
    this.jobId = jobId;
    this.signal = signal;
    this.rows = [];
    this.body = h("div", { class: "scroll" }, h("p", { class: "dim" }, "Files appear when the job has finished."));
    this.element = h("section", { class: "card files" }, h("h2", {}, "Files"), this.body);
  }

  async load() {
    this.rows = (await get(`/v1/jobs/${this.jobId}/artifacts`, { signal: this.signal })).data;
    if (!this.rows.length) return;
    const heads = [["Name"], ["What it is", "what"], ["Size"], ["SHA-256", "sum"], ["Download"]];
    this.body.replaceChildren(
      h(
        "table",
        {},
        h("caption", { class: "unseen" }, "Files of the job"),
        h("thead", {}, h("tr", {}, heads.map(([name, kind]) => h("th", { scope: "col", class: kind }, name)))),
        h("tbody", {}, this.rows.map((file) => this.row(file))),
      ),
    );
  }

  row(file) {
    const trees = file.name.endsWith(".txt");
    const what = { model: trees ? "trees, LightGBM's text" : "packed model, one bit per weight", reference: "trees from full-precision gradients", weights: "weights in full precision", report: "report", card: "card of the model", examples: "images of each confusion" }[file.kind] ?? file.kind;
    return h(
      "tr",
      {},
      h("th", { scope: "row", class: "mono" }, file.name),
      h("td", { class: "what" }, what),
      h("td", { class: "number" }, bytes(file.size)),
      h("td", { class: "mono sum", title: file.sha256 }, `${file.sha256.slice(0, 10)}…`),
      h("td", {}, h("a", { class: "button small", href: `/v1/jobs/${this.jobId}/artifacts/${encodeURIComponent(file.name)}`, download: file.name, "aria-label": `Download ${file.name}` }, "Download")),
    );
  }
}

/** Why a job failed, with its last lines. */
export function failure(error) {
  if (!error) return "";
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("strong", {}, error.message),
    h("p", {}, h("code", {}, error.code), error.param ? [" at ", h("code", {}, error.param)] : "", error.attempts > 1 ? ` after ${error.attempts} attempts` : ""),
    error.log?.length ? h("details", {}, h("summary", {}, "Last lines"), h("pre", { class: "code", tabindex: "0" }, error.log.join("\n"))) : "",
  );
}

/** That the model which the job started from was better, and what to try. */
export function setback(found) {
  if (!found) return "";
  return h("div", { class: "notice busy", role: "status" }, h("strong", {}, "Worse than what it started from: "), found.message, " ", h("a", { href: `#/models/${found.model}` }, "That model"));
}

export const times = (job) =>
  [`created ${dateTime(job.created_at)}`, job.started_at && `started ${dateTime(job.started_at)}`, job.finished_at && `ended ${dateTime(job.finished_at)}`].filter(Boolean).join(" · ");
