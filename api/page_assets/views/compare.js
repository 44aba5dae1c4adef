// Several jobs beside each other: their curves in one picture, and of their options and results only what differs.

import { FINAL, Problem, all, getPatiently, pause, post, query } from "../lib/api.js";
import { LineChart } from "../lib/chart.js";
import { h } from "../lib/dom.js";
import { count, figure, seconds } from "../lib/format.js";
import { metricsOf, options, results, table } from "../compare/tables.js";

const POINTS = 2000;
const OFFERED = 200;
const MOST = 48;
const PERIOD = 3000;
const AXES = [
  ["step", "Step", (x) => count(Math.round(x))],
  ["epoch", "Epoch", figure],
  ["time", "Time", seconds],
];

class Compare {
  constructor(signal) {
    this.signal = signal;
    this.offered = [];
    this.details = new Map(); // job id -> the job
    this.axis = AXES[0];
    this.onlyDifferent = true;
    this.metric = "step/loss";
    signal.addEventListener("abort", () => this.chart?.destroy());
    this.build();
  }

  build() {
    this.chartPlace = h("div");
    this.tables = h("div", { class: "stack" });
    this.chosen = h("ul", { class: "row chips", id: "chosen", "aria-label": "Compared jobs" });
    this.add = h("select", { class: "narrow", "aria-label": "Add a job", onchange: () => this.choose([...this.ids, this.add.value]) });
    this.told = h("p", { class: "dim", id: "told" });
    this.metrics = h("select", { id: "metric", onchange: () => this.draw(this.metrics.value, this.axis) });
    const axis = h("select", { id: "axis", onchange: () => this.draw(this.metric, AXES[axis.selectedIndex]) }, AXES.map(([, title]) => h("option", {}, title)));
    const only = h("input", { type: "checkbox", checked: true, onchange: () => this.tabulate(only.checked) });
    this.body = h("div", { class: "stack", hidden: true }, h("div", { class: "row" }, h("label", {}, "Curve ", this.metrics), h("label", {}, "Along ", axis), h("label", { class: "row" }, only, "Only what differs")), this.chartPlace, this.tables);
    this.element = h("div", { class: "stack" }, h("h1", {}, "Compare"), h("div", { class: "card stack" }, this.told, this.chosen, h("div", { class: "row" }, this.add)), this.body);
  }

  get ids() {
    return this.found?.jobs.map((job) => job.id) ?? [];
  }

  /** The jobs that can be added; they need not be there at once. */
  async offer() {
    this.offered = await all("/v1/jobs", {}, { most: OFFERED, signal: this.signal });
    this.list();
  }

  /** Show these jobs, or those of a sweep; the address keeps the choice. */
  async choose(ids, sweep = null) {
    const wanted = [...new Set(ids)].filter(Boolean).slice(0, MOST);
    history.replaceState(null, "", `#/compare${query({ job: wanted, sweep })}`);
    this.asked = sweep ? { sweep } : { jobs: wanted };
    if (!sweep && !wanted.length) this.found = null;
    else this.found = await this.ask({ points: 0, equal: true });
    if (this.found && sweep) {
      this.left = Math.max(0, this.found.jobs.length - MOST);
      this.asked = { jobs: this.ids.slice(0, MOST) };
      if (this.left) this.found = await this.ask({ points: 0, equal: true });
    }
    await this.detail();
    this.list();
    this.body.hidden = !this.ids.length;
    if (!this.ids.length) return;
    this.tabulate(this.onlyDifferent);
    await this.draw(this.metric, this.axis);
  }

  /** Ask for the comparison. Of jobs that are not there any more the others are shown. */
  async ask(how) {
    for (;;) {
      try {
        return await post("/v1/compare", { ...this.asked, ...how }, { signal: this.signal });
      } catch (error) {
        const gone = error instanceof Problem && error.status === 404 && this.asked.jobs?.find((id) => error.message.includes(id));
        if (!gone) throw error;
        this.asked = { jobs: this.asked.jobs.filter((id) => id !== gone) };
        if (!this.asked.jobs.length) return null;
      }
    }
  }

  /** What a comparison does not tell: time, arithmetic and size of the model. */
  async detail() {
    const stale = this.ids.filter((id) => !FINAL.has(this.details.get(id)?.state));
    const found = await Promise.all(stale.map((id) => getPatiently(`/v1/jobs/${id}`, { signal: this.signal }).catch(() => null)));
    found.forEach((job) => job && this.details.set(job.id, job));
  }

  list() {
    const ids = new Set(this.ids);
    this.add.replaceChildren(h("option", { value: "" }, "Add a job …"), ...this.offered.filter((job) => !ids.has(job.id)).map((job) => h("option", { value: job.id }, `${title(job)} (${job.spec.method.name}, ${job.state})`)));
    this.add.hidden = ids.size >= MOST;
    this.chosen.replaceChildren(...(this.found?.jobs ?? []).map((job, index) => this.chip(job, index)));
    this.told.textContent = this.left ? `The first ${MOST} jobs of the sweep; ${this.left} more are not shown.` : "";
    this.told.hidden = !this.left;
    if (!this.found) return;
    const metrics = metricsOf(this.found.jobs);
    if (!metrics.some(({ id }) => id === this.metric)) this.metric = metrics[0]?.id ?? this.metric;
    this.metrics.replaceChildren(...metrics.map(({ id, title: name }) => h("option", { value: id }, name)));
    this.metrics.value = this.metric;
  }

  chip(job, index) {
    const swatch = h("i", { class: "swatch", "aria-hidden": "true" });
    swatch.style.color = `var(--series-${(index % 8) + 1})`;
    const drop = h("button", { type: "button", class: "quiet small", "aria-label": `Leave out ${title(job)}`, onclick: () => this.choose(this.ids.filter((id) => id !== job.id)) }, "✕");
    return h("li", { class: "row" }, swatch, h("a", { href: `#/jobs/${job.id}` }, title(job)), drop);
  }

  /** Draw the curves of a metric along an axis, thinned out by the service. */
  async draw(id, axis) {
    Object.assign(this, { metric: id, axis });
    const [align, , xFormat] = axis;
    const metric = metricsOf(this.found.jobs).find((row) => row.id === id);
    if (!metric) return;
    const { kind, name } = metric;
    const answer = await this.ask({ points: POINTS, align, kinds: [kind], metrics: [name] });
    if (!answer || this.metric !== id || this.axis !== axis) return; // another choice was faster
    const same = this.chart && this.drawn === `${id} ${align}`;
    if (!same) {
      this.chart?.destroy();
      this.chart = new LineChart({ title: metric.title, xName: align === "time" ? "time" : align, format: metric.format, xFormat, smoothing: kind === "step" });
      this.chartPlace.replaceChildren(this.chart.element);
      this.drawn = `${id} ${align}`;
    } else if (answer.jobs.length !== this.chart.curves.length) this.chart.reset();
    answer.jobs.forEach((job, index) => {
      const curve = job.metrics[0]?.curve ?? { x: [], values: [] };
      this.chart.set(`${index + 1} ${title(job)}`, curve.x, curve.values);
    });
  }

  tabulate(onlyDifferent) {
    this.onlyDifferent = onlyDifferent;
    const { jobs } = this.found;
    const titles = jobs.map(title);
    const reached = results(jobs, jobs.map(({ id }) => this.details.get(id)), metricsOf(jobs));
    this.tables.replaceChildren(table("results", "Results", reached, titles, onlyDifferent), table("options", "Options", options(this.found), titles, onlyDifferent));
  }

  /** While a job goes on, look again. */
  async follow() {
    for (;;) {
      await pause(PERIOD, this.signal);
      if (document.hidden || !this.found?.jobs.some((job) => !FINAL.has(job.state))) continue;
      this.found = (await this.ask({ points: 0, equal: true })) ?? this.found;
      await this.detail();
      this.tabulate(this.onlyDifferent);
      await this.draw(this.metric, this.axis);
    }
  }
}

const title = (job) => job.name || job.id;

export default {
  path: "/compare",
  title: "Compare",
  order: 5,
  async show(main, { query: asked, signal }) {
    const view = new Compare(signal);
    main.append(view.element);
    try {
      await Promise.all([view.choose(asked.getAll("job"), asked.get("sweep")), view.offer()]);
      view.list();
      await view.follow();
    } catch (error) {
      if (!signal.aborted) main.append(h("p", { class: "notice bad", role: "alert" }, error.message));
    }
  },
};
