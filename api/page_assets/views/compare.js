// Several jobs beside each other: their curves in one picture, and of their options and results only what differs.

import { all, getPatiently, query } from "../lib/api.js";
import { LineChart } from "../lib/chart.js";
import { h, stateBadge } from "../lib/dom.js";
import { bytes, count, figure, flatten, percent, plain, seconds } from "../lib/format.js";

const POINTS = 2000;
const OFFERED = 200;
const MOST = 24;
const CURVES = [
  ["step", "loss", "Training loss", figure],
  ["epoch", "validation_accuracy", "Validation accuracy", (value) => percent(value)],
  ["epoch", "validation_loss", "Validation loss", figure],
  ["epoch", "train_accuracy", "Training accuracy", (value) => percent(value)],
  ["step", "learning_rate", "Learning rate", figure],
  ["step", "images_per_second", "Images per second", (value) => count(Math.round(value))],
];
const AXES = [
  ["step", "Step"],
  ["epoch", "Epoch"],
  ["share", "Share of the run"],
];
const UNTOLD = new Set(["name"]);

class Compare {
  constructor(offered, signal) {
    Object.assign(this, { offered, signal });
    this.jobs = [];
    this.curves = new Map();
    this.metric = CURVES[0];
    this.axis = "step";
    this.onlyDifferent = true;
    this.chartPlace = h("div");
    this.tables = h("div", { class: "stack" });
    this.chosen = h("ul", { class: "row chips", id: "chosen", "aria-label": "Compared jobs" });
    signal.addEventListener("abort", () => this.chart?.destroy());
    this.build();
  }

  build() {
    this.add = h("select", { "aria-label": "Add a job", onchange: () => this.choose([...this.jobs.map((job) => job.id), this.add.value]) });
    const metric = h("select", { id: "metric", onchange: () => this.draw(CURVES[metric.selectedIndex], this.axis) }, CURVES.map(([, , title]) => h("option", {}, title)));
    const axis = h("select", { id: "axis", onchange: () => this.draw(this.metric, AXES[axis.selectedIndex][0]) }, AXES.map(([, title]) => h("option", {}, title)));
    const only = h("input", { type: "checkbox", checked: true, onchange: () => this.tabulate(only.checked) });
    this.only = h("label", { class: "row" }, only, "Only what differs");
    this.body = h(
      "div",
      { class: "stack" },
      h("div", { class: "row" }, h("label", {}, "Curve ", metric), h("label", {}, "Along ", axis), this.only),
      this.chartPlace,
      this.tables,
    );
    this.element = h("div", { class: "stack" }, h("h1", {}, "Compare"), h("div", { class: "card stack" }, this.chosen, h("div", { class: "row" }, this.add)), this.body);
  }

  /** Show these jobs; the address keeps the choice. */
  async choose(ids) {
    const wanted = [...new Set(ids)].filter(Boolean).slice(0, MOST);
    history.replaceState(null, "", `#/compare${query({ job: wanted })}`);
    const known = new Map(this.jobs.map((job) => [job.id, job]));
    const found = await Promise.all(wanted.map((id) => known.get(id) ?? getPatiently(`/v1/jobs/${encodeURIComponent(id)}`, { signal: this.signal }).catch(() => null)));
    this.jobs = found.filter(Boolean);
    await Promise.all(this.jobs.map((job) => this.fetch(job)));
    this.show();
  }

  async fetch(job) {
    if (this.curves.has(job.id)) return;
    const values = [...new Set(CURVES.map(([kind]) => kind))].map((kind) => getPatiently(`/v1/jobs/${job.id}/metrics${query({ kind, max_points: POINTS })}`, { signal: this.signal }));
    const answers = await Promise.all(values);
    this.curves.set(job.id, new Map(answers.flatMap((answer) => answer.data).map((series) => [`${series.kind}/${series.name}`, series])));
  }

  show() {
    const ids = new Set(this.jobs.map((job) => job.id));
    this.add.replaceChildren(h("option", { value: "" }, "Add a job …"), ...this.offered.filter((job) => !ids.has(job.id)).map((job) => h("option", { value: job.id }, `${title(job)} (${job.spec.method.name}, ${job.state})`)));
    this.chosen.replaceChildren(...this.jobs.map((job, index) => this.chip(job, index)));
    this.body.hidden = !this.jobs.length;
    this.draw(this.metric, this.axis);
    this.tabulate(this.onlyDifferent);
  }

  chip(job, index) {
    const swatch = h("i", { class: "swatch", "aria-hidden": "true" });
    swatch.style.color = `var(--series-${(index % 8) + 1})`;
    const drop = h("button", { type: "button", class: "quiet small", "aria-label": `Leave out ${title(job)}`, onclick: () => this.choose(this.jobs.filter((one) => one !== job).map((one) => one.id)) }, "✕");
    return h("li", { class: "row" }, swatch, h("a", { href: `#/jobs/${job.id}` }, title(job)), drop);
  }

  draw(metric, axis) {
    Object.assign(this, { metric, axis });
    const [kind, name, heading, format] = metric;
    this.chart?.destroy();
    this.chart = new LineChart({
      title: heading,
      xName: axis === "share" ? "share of the run" : axis,
      format,
      xFormat: axis === "step" ? (x) => count(Math.round(x)) : axis === "share" ? (x) => percent(x, 0) : figure,
      smoothing: kind === "step",
    });
    this.jobs.forEach((job, index) => {
      const series = this.curves.get(job.id)?.get(`${kind}/${name}`);
      const place = this.placeOf(job);
      this.chart.set(`${index + 1} ${title(job)}`, (series?.steps ?? []).map(place), series?.values ?? []);
    });
    this.chartPlace.replaceChildren(this.chart.element);
  }

  /** Where a step stands on the axis. */
  placeOf(job) {
    const { total_steps: steps = 1, epochs = 1 } = job.progress ?? {};
    if (this.axis === "epoch") return (step) => (step * epochs) / steps;
    if (this.axis === "share") return (step) => step / steps;
    return (step) => step;
  }

  tabulate(onlyDifferent) {
    this.onlyDifferent = onlyDifferent;
    const options = this.jobs.map((job) => new Map(flatten(job.spec)));
    const names = [...new Set(options.flatMap((row) => [...row.keys()]))].filter((name) => !UNTOLD.has(name));
    const rows = names.map((name) => [name, options.map((row) => plain(row.get(name)))]);
    this.tables.replaceChildren(this.table("results", "Results", this.results(), true), this.table("options", "Options", rows, onlyDifferent));
  }

  /** What was reached: of each curve the least, greatest and last value, and what the model is. */
  results() {
    const rows = [["state", this.jobs.map((job) => job.state)]];
    rows.push(["best validation accuracy", this.jobs.map((job) => percent(job.result?.validation_accuracy, 2))]);
    for (const [kind, name, heading, format] of CURVES.slice(0, 3)) {
      const values = this.jobs.map((job) => (this.curves.get(job.id)?.get(`${kind}/${name}`)?.values ?? []).filter(Number.isFinite));
      const each = (rule) => values.map((row) => (row.length ? format(rule(row)) : "–"));
      rows.push([`${heading.toLowerCase()}, last`, each((row) => row.at(-1))]);
      rows.push([`${heading.toLowerCase()}, least`, each((row) => row.reduce((a, b) => Math.min(a, b)))]);
      rows.push([`${heading.toLowerCase()}, greatest`, each((row) => row.reduce((a, b) => Math.max(a, b)))]);
    }
    rows.push(["time", this.jobs.map((job) => (job.ran_seconds ? seconds(job.ran_seconds) : "–"))]);
    rows.push(["arithmetic", this.jobs.map((job) => job.record?.arithmetic ?? "–")]);
    rows.push(["kernels", this.jobs.map((job) => job.record?.isa ?? "–")]);
    rows.push(["model", this.jobs.map((job) => bytes(Object.values(job.result?.artifacts ?? {}).find((file) => file.kind === "model")?.size))]);
    return rows;
  }

  table(id, heading, rows, onlyDifferent) {
    const differs = (values) => new Set(values).size > 1;
    const shown = onlyDifferent && this.jobs.length > 1 ? rows.filter(([, values]) => differs(values)) : rows;
    const same = rows.length - shown.length;
    return h(
      "section",
      { class: "card" },
      h("h2", {}, heading),
      h(
        "div",
        { class: "scroll", tabindex: "0", role: "group", "aria-label": `${heading} of the compared jobs` },
        h(
          "table",
          { id, class: "compare" },
          h("caption", {}, same ? `${shown.length} differ; ${same} are the same everywhere` : "All of them"),
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "What"), this.jobs.map((job, index) => h("th", { scope: "col" }, `${index + 1} ${title(job)}`)))),
          h("tbody", {}, shown.map(([name, values]) => h("tr", { class: differs(values) ? "differs" : "" }, h("th", { scope: "row", class: "mono" }, name), values.map((value) => h("td", { class: "number" }, name === "state" ? stateBadge(value) : value))))),
        ),
      ),
    );
  }
}

const title = (job) => job.name || job.id;

export default {
  path: "/compare",
  title: "Compare",
  order: 4,
  async show(main, { query: asked, signal }) {
    main.append(h("h1", {}, "Compare"));
    try {
      const view = new Compare(await all("/v1/jobs", {}, { most: OFFERED, signal }), signal);
      main.replaceChildren(view.element);
      await view.choose(asked.getAll("job"));
    } catch (error) {
      if (!signal.aborted) main.replaceChildren(h("h1", {}, "Compare"), h("p", { class: "notice bad" }, error.message));
    }
  },
};
