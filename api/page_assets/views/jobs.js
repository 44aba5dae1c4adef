// The list of jobs: live states, filters, and a choice to compare.

import { FINAL, Problem, get, getPatiently, may, query } from "../lib/api.js";
import { debounced, h, repeatedly, toast } from "../lib/dom.js";
import { learnerOf } from "../lib/format.js";
import { datasetNames } from "../lib/names.js";
import { JobTable } from "../lib/job_table.js";

const PERIOD = 2000;
const PAGE = 100;
const NEWEST = 20;
const LOOKED_AFTER = 8;
const HELD = ["running", "pausing", "cancelling"];
const GROUPS = [
  ["all", "All", []],
  ["running", "Running", HELD],
  ["waiting", "Waiting", ["queued", "paused"]],
  ["succeeded", "Succeeded", ["succeeded"]],
  ["failed", "Failed", ["failed"]],
  ["cancelled", "Cancelled", ["cancelled"]],
];

class Jobs {
  constructor(signal, group) {
    this.signal = signal;
    this.group = GROUPS.find(([name]) => name === group) ?? GROUPS[0];
    this.jobs = [];
    this.complete = false;
    this.loading = null;
    this.words = "";
    this.table = new JobTable({ onmore: () => this.more(), onpick: (ids) => this.picked(ids) });
    signal.addEventListener("abort", () => this.table.destroy());
    this.build();
  }

  build() {
    this.chips = GROUPS.map((group) =>
      h("button", { type: "button", class: "chip", "aria-pressed": String(group === this.group), onclick: () => this.choose(group) }, group[1]),
    );
    this.search = h("input", { type: "search", id: "search", placeholder: "Name, data set, method", "aria-label": "Search jobs" });
    this.search.addEventListener("input", debounced(() => this.find(this.search.value), 150));
    this.compare = h("a", { class: "button", id: "compare", hidden: true });
    this.status = h("p", { class: "hint", id: "count", role: "status" });
    this.empty = h(
      "div",
      { class: "notice", id: "empty", hidden: true },
      h("p", {}, "No jobs yet. ", may("write") ? h("a", { href: "#/new" }, "Make the first one") : "", " or run ", h("code", {}, "fqt submit"), "."),
    );
    this.element = h(
      "div",
      {},
      h("div", { class: "row between" }, h("h1", {}, "Jobs"), h("div", { class: "row" }, this.compare, may("write") ? h("a", { class: "button primary", href: "#/new" }, "New job") : "")),
      h("div", { class: "filters", role: "group", "aria-label": "Filters" }, this.search, this.chips, this.status),
      this.empty,
      this.table.element,
    );
  }

  matches(job) {
    const [, , states] = this.group;
    if (states.length && !states.includes(job.state)) return false;
    return !this.words || [job.name, job.id, job.spec.dataset, job.spec.method.name, learnerOf(job.spec)].join(" ").toLowerCase().includes(this.words);
  }

  choose(group) {
    this.group = group;
    GROUPS.forEach((one, index) => this.chips[index].setAttribute("aria-pressed", String(one === group)));
    history.replaceState(null, "", group[0] === "all" ? "#/jobs" : `#/jobs?show=${group[0]}`);
    this.jobs = [];
    this.complete = false;
    this.loading = null;
    this.table.scroll.scrollTop = 0;
    this.more();
  }

  /** What is searched for is looked for in all jobs, so all are loaded. */
  async find(text) {
    this.words = text.trim().toLowerCase();
    this.show();
    while (this.words && !this.complete && !this.signal.aborted) await this.more();
  }

  show() {
    const shown = this.words ? this.jobs.filter((job) => this.matches(job)) : this.jobs;
    this.table.show(shown);
    const known = `${shown.length}${this.complete ? "" : "+"}`;
    this.status.textContent = this.words && !this.complete ? `${shown.length} found in ${this.jobs.length} so far` : `${known} ${shown.length === 1 ? "job" : "jobs"}`;
    this.empty.hidden = !(this.complete && !this.jobs.length && this.group[0] === "all");
    this.table.element.hidden = !this.empty.hidden;
  }

  /** Load the next page, one at a time. */
  more() {
    if (this.complete) return undefined;
    this.loading ??= this.load(this.group).finally(() => (this.loading = null));
    return this.loading;
  }

  async load(group) {
    const values = { state: group[2], limit: PAGE, after: this.jobs.at(-1)?.id };
    const page = await getPatiently(`/v1/jobs${query(values)}`, { signal: this.signal }).catch(() => null);
    if (group !== this.group) return;
    if (page) this.merge(page.data, true);
    this.complete = !page?.has_more; // who may not look any more is not asked for ever
    this.show();
  }

  /** Take in jobs as they are now: new ones in their place, by id, which sorts by time. `page`: they are the next
   *  page; otherwise older ones than those that are loaded wait for theirs. */
  merge(jobs, page = false) {
    const at = new Map(this.jobs.map((job, index) => [job.id, index]));
    let added = false;
    for (const job of jobs) {
      const index = at.get(job.id);
      if (index !== undefined) {
        this.told(this.jobs[index], job);
        this.jobs[index] = job;
      } else if (page || this.complete || !this.jobs.length || job.id > this.jobs.at(-1).id) {
        this.jobs.push(job);
        added = true;
      }
    }
    const [, , states] = this.group;
    if (states.length) this.jobs = this.jobs.filter((job) => states.includes(job.state));
    if (added) this.jobs.sort((a, b) => (a.id < b.id ? 1 : -1));
  }

  told(before, now) {
    if (before.state !== now.state && FINAL.has(now.state)) toast(`${now.name || now.id}: ${now.state}`);
  }

  /** Look at what may have changed: jobs that run, the newest, and those in sight that have not ended. */
  async refresh() {
    try {
      const [held, newest] = await Promise.all([
        get(`/v1/jobs${query({ state: HELD, limit: PAGE })}`, { signal: this.signal }),
        get(`/v1/jobs${query({ state: this.group[2], limit: NEWEST })}`, { signal: this.signal }),
      ]);
      const fresh = new Map([...held.data, ...newest.data].map((job) => [job.id, job]));
      const left = this.table.visible.filter((job) => !FINAL.has(job.state) && !fresh.has(job.id)).slice(0, LOOKED_AFTER);
      const gone = new Set();
      await Promise.all(left.map(async ({ id }) => {
        try {
          fresh.set(id, await get(`/v1/jobs/${id}`, { signal: this.signal }));
        } catch (error) {
          if (error instanceof Problem && error.status === 404) gone.add(id);
        }
      }));
      if (!this.jobs.length && !this.complete) return;
      this.jobs = this.jobs.filter((job) => !gone.has(job.id));
      const known = new Set(this.jobs.map((job) => job.id));
      const mine = new Set(newest.data.map((job) => job.id));
      this.merge([...fresh.values()].filter((job) => known.has(job.id) || mine.has(job.id)));
      this.show();
    } catch {
      // the frame says that the service is away; the next round looks again
    }
  }

  picked(ids) {
    this.compare.hidden = ids.length < 2;
    this.compare.textContent = `Compare ${ids.length} jobs`;
    this.compare.href = `#/compare${query({ job: ids })}`;
  }
}

export default {
  path: "/jobs",
  title: "Jobs",
  order: 1,
  async show(main, { query: asked, signal }) {
    const view = new Jobs(signal, asked.get("show"));
    main.append(view.element);
    datasetNames(signal).then((names) => view.table.name(names));
    await view.more();
    repeatedly(() => view.refresh(), PERIOD, signal);
  },
};
