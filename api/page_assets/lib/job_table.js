// The table of jobs. Only the rows in sight are in the document, so that thousands cost no more than twenty.

import { get, query } from "./api.js";
import { sparkline } from "./canvas.js";
import { h, onceAFrame, stateBadge } from "./dom.js";
import { ago, dateTime, figure, percent } from "./format.js";

const ROW = 44;
const SPARE = 6;
const AT_ONCE = 3;
const POINTS = 60;

const COLUMNS = [
  ["pick", "Compare", true],
  ["name", "Job"],
  ["data", "Data set"],
  ["method", "Method"],
  ["status", "State"],
  ["progress", "Progress"],
  ["spark", "Loss curve"],
  ["figure loss", "Loss"],
  ["figure", "Accuracy"],
  ["when", "Created"],
];

export class JobTable {
  /** `onmore`: the end comes into sight; `onpick`: the choice changed, told the chosen ids. */
  constructor({ onmore, onpick }) {
    Object.assign(this, { onmore, onpick });
    this.jobs = [];
    this.picked = new Set();
    this.names = new Map(); // of data sets
    this.rows = new Map();
    this.losses = new Map(); // job id -> values, or null while they are being asked for
    this.wanted = [];
    this.asking = 0;
    this.above = h("tr", { class: "spacer", "aria-hidden": "true" }, h("td", { colspan: String(COLUMNS.length) }));
    this.below = this.above.cloneNode(true);
    this.body = h("tbody", {}, this.above, this.below);
    this.table = h(
      "table",
      { id: "jobs" },
      h("caption", { class: "unseen" }, "Jobs, newest first"),
      h("thead", {}, h("tr", {}, COLUMNS.map(([name, title, unseen]) => h("th", { scope: "col", class: name }, unseen ? h("span", { class: "unseen" }, title) : title)))),
      this.body,
    );
    this.scroll = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Jobs" }, this.table);
    this.element = h("div", { class: "card jobs" }, this.scroll);
    this.redraw = onceAFrame(() => this.draw());
    this.scroll.addEventListener("scroll", this.redraw, { passive: true });
    this.observer = new ResizeObserver(this.redraw);
    this.observer.observe(this.scroll);
    this.recolour = () => {
      for (const row of this.rows.values()) row.spark();
    };
    document.addEventListener("themechange", this.recolour);
  }

  destroy() {
    this.observer.disconnect();
    document.removeEventListener("themechange", this.recolour);
  }

  show(jobs) {
    this.jobs = jobs;
    this.redraw();
  }

  name(names) {
    this.names = names;
    this.redraw();
  }

  /** The jobs in sight. */
  get visible() {
    return this.jobs.filter((job) => this.rows.has(job.id));
  }

  draw() {
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / ROW) - SPARE);
    const last = Math.min(this.jobs.length, Math.ceil((this.scroll.scrollTop + this.scroll.clientHeight) / ROW) + SPARE);
    const seen = this.jobs.slice(first, last);
    const ids = new Set(seen.map((job) => job.id));
    for (const [id, row] of this.rows) {
      if (!ids.has(id)) {
        row.element.remove();
        this.rows.delete(id);
      }
    }
    let place = this.above;
    seen.forEach((job, index) => {
      if (!this.rows.has(job.id)) this.rows.set(job.id, this.row(job));
      const row = this.rows.get(job.id);
      row.update(job);
      row.element.setAttribute("aria-rowindex", String(first + index + 2));
      if (place.nextSibling !== row.element) place.after(row.element);
      place = row.element;
      this.wantLosses(job);
    });
    this.above.firstChild.style.height = `${first * ROW}px`;
    this.below.firstChild.style.height = `${(this.jobs.length - last) * ROW}px`;
    this.above.hidden = first === 0;
    this.below.hidden = last === this.jobs.length;
    this.table.setAttribute("aria-rowcount", String(this.jobs.length + 1));
    if (last >= this.jobs.length - 2 * SPARE) this.onmore();
  }

  row(job) {
    const cells = Object.fromEntries(["data", "method", "status", "loss", "accuracy", "when"].map((name) => [name, h("td")]));
    const link = h("a", { href: `#/jobs/${job.id}` });
    const box = h("input", { type: "checkbox", onchange: () => this.pick(job.id, box.checked) });
    const bar = h("progress", { max: "1" });
    const share = h("span", { class: "percent" });
    const canvas = h("canvas", { "aria-hidden": "true" });
    cells.loss.className = "figure loss number";
    cells.accuracy.className = "figure number";
    for (const name of ["data", "method", "status", "when"]) cells[name].className = name;
    const element = h(
      "tr",
      { dataset: { job: job.id } },
      h("td", { class: "pick" }, box),
      h("td", { class: "name" }, link),
      cells.data,
      cells.method,
      cells.status,
      h("td", { class: "progress" }, h("div", { class: "progress-cell" }, bar, share)),
      h("td", { class: "spark" }, canvas),
      cells.loss,
      cells.accuracy,
      cells.when,
    );
    let state;
    const update = (now) => {
      const progress = now.progress ?? {};
      const name = now.name || now.id;
      link.textContent = name;
      link.title = name;
      box.setAttribute("aria-label", `Compare ${name}`);
      box.checked = this.picked.has(now.id);
      cells.data.textContent = this.names.get(now.spec.dataset) ?? now.spec.dataset;
      cells.data.title = now.spec.dataset;
      cells.method.textContent = now.spec.method.name;
      if (state !== now.state) cells.status.replaceChildren(stateBadge(now.state));
      state = now.state;
      const done = progress.total_steps ? progress.step / progress.total_steps : 0;
      bar.value = done;
      bar.setAttribute("aria-label", `Progress of ${name}`);
      share.textContent = progress.total_steps ? percent(done, 0) : "";
      cells.loss.textContent = figure(progress.loss);
      cells.accuracy.textContent = percent(now.result?.validation_accuracy ?? progress.validation_accuracy);
      cells.when.textContent = ago(now.created_at);
      cells.when.title = dateTime(now.created_at);
      this.follow(now);
    };
    const spark = () => sparkline(canvas, this.losses.get(job.id) ?? []);
    return { element, update, spark };
  }

  pick(id, on) {
    if (on) this.picked.add(id);
    else this.picked.delete(id);
    this.onpick([...this.picked]);
  }

  // --- sparklines ---

  wantLosses(job) {
    if (this.losses.has(job.id) || !job.started_at) {
      this.rows.get(job.id).spark();
      return;
    }
    this.losses.set(job.id, null);
    this.wanted.push(job);
    this.askLosses();
  }

  async askLosses() {
    if (this.asking >= AT_ONCE) return;
    this.asking += 1;
    while (this.wanted.length) {
      const job = this.wanted.pop();
      if (this.rows.has(job.id)) await this.loadLosses(job);
      else this.losses.delete(job.id);
    }
    this.asking -= 1;
  }

  /** The losses of a short job's steps; of a long one's epochs, which cost the service less. */
  async loadLosses(job) {
    const long = (job.progress?.total_steps ?? 0) > 5000;
    const values = long ? { kind: "epoch", name: "train_loss" } : { kind: "step", name: "loss" };
    try {
      const found = await get(`/v1/jobs/${job.id}/metrics${query({ ...values, max_points: POINTS })}`);
      this.losses.set(job.id, found.data[0]?.values ?? []);
      this.rows.get(job.id)?.spark();
    } catch {
      this.losses.delete(job.id); // asked for again with the next drawing
    }
  }

  /** A running job's curve grows by what its progress tells. */
  follow(job) {
    const values = this.losses.get(job.id);
    const loss = job.progress?.loss;
    if (job.state !== "running" || !values || typeof loss !== "number" || values.at(-1) === loss) return;
    values.push(loss);
    if (values.length > 2 * POINTS) values.splice(0, values.length, ...values.filter((_, index) => index % 2));
  }
}
