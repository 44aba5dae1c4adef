// One job, live: figures, curves, noise by layer, events, configuration, files; and what can be done with it.

import { FINAL, Problem, getPatiently, may, post, remove } from "../lib/api.js";
import { confirmed, h, stateBadge, toast } from "../lib/dom.js";
import { datasetNames } from "../lib/names.js";
import { percent } from "../lib/format.js";
import { follow } from "../lib/stream.js";
import { Curves } from "../job/curves.js";
import { Files, configuration, failure, setback, tiles, times } from "../job/details.js";
import { Log } from "../job/log.js";

const LEAST_PAUSE = 700;

class JobView {
  constructor(main, job, signal) {
    Object.assign(this, { main, job, signal });
    this.curves = new Curves(job, signal);
    this.log = new Log(job.id, signal);
    this.files = new Files(job.id, signal);
    this.badge = h("span", { id: "state", role: "status" });
    this.actions = h("div", { class: "row", role: "group", "aria-label": "Actions" });
    this.bar = h("progress", { max: "1", "aria-label": "Progress" });
    this.times = h("p", { class: "hint" });
    this.data = h("span", {}, job.spec.dataset);
    this.failed = h("div", { class: "slot" });
    this.tiles = h("dl", { class: "tiles" });
    this.configured = h("div");
    const { method, architecture, table } = job.spec;
    this.element = h(
      "div",
      { class: "stack" },
      h(
        "div",
        {},
        h("nav", { class: "crumbs", "aria-label": "Path" }, h("a", { href: "#/jobs" }, "Jobs"), " / ", h("span", { class: "mono" }, job.id)),
        h("div", { class: "row between" }, h("div", {}, h("h1", {}, job.name || job.id), h("p", { class: "dim" }, this.badge, ` ${method.name} · ${architecture ? `${architecture.name}, width ${architecture.width}` : `trees, target ${table.target}`} · `, this.data)), this.actions),
        this.bar,
        this.times,
      ),
      this.failed,
      this.tiles,
      this.curves.element,
      this.log.element,
      this.files.element,
      this.configured,
    );
  }

  show() {
    const { job } = this;
    const progress = job.progress ?? {};
    if (this.state !== job.state) {
      this.state = job.state;
      this.badge.replaceChildren(stateBadge(job.state));
      this.actions.replaceChildren(...this.buttons());
      this.failed.replaceChildren(failure(job.error) || setback(job.result?.setback));
    }
    this.bar.value = progress.total_steps ? progress.step / progress.total_steps : 0;
    this.times.textContent = times(job);
    this.tiles.replaceChildren(...tiles(job, this.files.rows));
    const settled = Boolean(job.record?.bits_chosen || job.record?.structure);
    if (this.settled !== settled) {
      this.settled = settled;
      this.configured.replaceChildren(configuration(job));
    }
    document.title = `${job.state === "running" && progress.total_steps ? `${percent(progress.step / progress.total_steps, 0)} ` : ""}${job.name || job.id} · fqt`;
  }

  buttons() {
    const { job } = this;
    const found = [h("a", { class: "button", href: `#/compare?job=${job.id}` }, "Compare")];
    if (job.result?.model) found.unshift(h("a", { class: "button primary", href: `#/models/${job.result.model}` }, "Try the model"));
    if (!may("write")) return found;
    found.unshift(h("a", { class: "button", href: `#/new?from=${job.id}` }, "Use as template"));
    if (job.state === "succeeded" && job.record?.structure) found.unshift(h("a", { class: "button primary", href: `#/new?structure=${job.id}` }, "Train this network"));
    const act = (name, title, kind = "") => found.push(h("button", { type: "button", class: kind, id: name, onclick: () => this.act(name) }, title));
    if (["queued", "running"].includes(job.state)) act("pause", "Pause");
    if (job.state === "paused") act("resume", "Resume", "primary");
    if (!FINAL.has(job.state) && job.state !== "cancelling") act("cancel", "Cancel", "danger");
    if (FINAL.has(job.state)) act("delete", "Delete", "danger");
    return found;
  }

  async act(name) {
    const called = this.job.name || this.job.id;
    if (name === "cancel" && !(await confirmed(`Cancel ${called}?`, "It ends at its next step and cannot be resumed. To go on later, pause it instead.", "Cancel the job"))) return;
    if (name === "delete" && !(await confirmed(`Delete ${called}?`, "Its curves, log and files are gone for good.", "Delete the job"))) return;
    try {
      if (name === "delete") {
        await remove(`/v1/jobs/${this.job.id}`);
        toast("Deleted.");
        location.hash = "#/jobs";
        return;
      }
      this.job = await post(`/v1/jobs/${this.job.id}/${name}`);
      this.show();
      if (name === "resume") this.follow();
    } catch (error) {
      toast(error instanceof Problem ? error.message : "The service does not answer; try again.", "bad");
    }
  }

  /** Show what is known, then what comes. */
  async run() {
    this.show();
    const [last] = await Promise.all([this.curves.load(), this.log.load(), this.refreshFiles()]);
    this.last = last;
    await this.follow();
  }

  async follow() {
    if (this.following) return;
    this.following = true;
    await follow(this.job.id, this.last, this.signal, (events) => this.take(events));
    this.following = false;
    if (!this.signal.aborted) await this.refresh();
  }

  take(events) {
    this.last = events.at(-1).seq;
    for (const event of events) if (event.type === "metric") this.curves.take(event.data);
    this.log.take(events);
    this.refreshSoon();
  }

  /** At most one look at the job at a time, and not more often than anyone can read. */
  refreshSoon() {
    if (this.soon) return;
    this.soon = true;
    setTimeout(() => {
      this.soon = false;
      if (!this.signal.aborted) this.refresh();
    }, LEAST_PAUSE);
  }

  async refresh() {
    try {
      this.job = await getPatiently(`/v1/jobs/${this.job.id}`, { signal: this.signal });
      if (FINAL.has(this.job.state)) await this.refreshFiles();
      this.show();
    } catch (error) {
      if (error instanceof Problem && error.status === 404) this.failed.replaceChildren(h("p", { class: "notice" }, "This job was deleted."));
    }
  }

  async refreshFiles() {
    try {
      await this.files.load();
      this.show();
    } catch {
      // looked for again at the next change
    }
  }
}

export default {
  path: "/jobs/:id",
  title: "Job",
  under: "/jobs",
  async show(main, { params, signal }) {
    main.append(h("h1", { class: "unseen" }, "Job"));
    try {
      const job = await getPatiently(`/v1/jobs/${encodeURIComponent(params.id)}`, { signal });
      const view = new JobView(main, job, signal);
      main.replaceChildren(view.element);
      datasetNames(signal).then((names) => (view.data.textContent = names.get(job.spec.dataset) ?? job.spec.dataset));
      await view.run();
    } catch (error) {
      if (signal.aborted) return;
      main.replaceChildren(h("h1", {}, "No such job"), h("p", { class: "notice bad" }, error.message, " ", h("a", { href: "#/jobs" }, "All jobs")));
    }
  },
};
