// Searches over options: how far each is, the best so far, and its jobs beside each other.

import { Problem, all, may, pause, post } from "../lib/api.js";
import { confirmed, h, stateBadge, toast } from "../lib/dom.js";
import { ago, dateTime, figure, percent, plain } from "../lib/format.js";

const PERIOD = 4000;
const MOST = 200;

/** A network or method with no option of its own, by its name. */
const nameAlone = (value) => (value?.name && Object.keys(value).length === 1 ? value.name : value);

class Sweeps {
  constructor(signal) {
    this.signal = signal;
    this.list = h("div", { class: "cards", id: "sweeps" });
    this.element = h("div", { class: "stack" }, h("h1", {}, "Sweeps"), this.list);
  }

  async follow() {
    for (;;) {
      const rows = await all("/v1/sweeps", {}, { most: MOST, signal: this.signal });
      const empty = h("p", { class: "notice" }, "No sweeps yet: ", h("code", {}, "fqt sweep"), " or ", h("code", {}, "POST /v1/sweeps"), " searches over options of a job, such as learning rates and bits.");
      this.list.replaceChildren(...(rows.length ? rows.map((row) => this.card(row)) : [empty]));
      if (!rows.some((row) => row.state === "running")) return;
      await pause(PERIOD, this.signal);
    }
  }

  card(row) {
    const done = Object.entries(row.counts).reduce((sum, [state, number]) => sum + (state === "running" ? 0 : number), 0);
    const counts = Object.entries(row.counts).filter(([, number]) => number).map(([state, number]) => `${number} ${state}`).join(", ");
    const { metric, algorithm, space } = row.spec;
    const called = row.name || row.id;
    const facts = [
      ["Searches", Object.keys(space).join(", ")],
      ["By", `${algorithm}, ${row.direction === "maximize" ? "greatest" : "least"} ${metric}`],
      ["Jobs", counts || "none yet"],
      ["Started", h("span", { title: dateTime(row.created_at) }, ago(row.created_at))],
    ];
    return h(
      "article",
      { class: "card", dataset: { id: row.id } },
      h("div", { class: "row between" }, h("h2", {}, called), stateBadge(row.state)),
      h("progress", { max: String(row.jobs), value: String(done), "aria-label": `Jobs of ${called} that have ended` }),
      h("p", { class: "hint" }, `${done} of ${row.jobs} jobs`),
      row.reason ? h("p", { class: `notice ${row.state === "failed" ? "bad" : ""}` }, row.reason.message) : "",
      this.best(row),
      h("dl", { class: "facts" }, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      h(
        "div",
        { class: "row" },
        h("a", { class: "button small", href: `#/sweeps/${row.id}`, "aria-label": `Report: ${called}` }, "Report"),
        h("a", { class: "button small", href: `#/compare?sweep=${row.id}`, "aria-label": `Compare its jobs: ${called}` }, "Compare its jobs"),
        may("write") && row.state === "running" ? h("button", { type: "button", class: "small danger", "aria-label": `Cancel ${called}`, onclick: () => this.cancel(row) }, "Cancel") : "",
      ),
    );
  }

  best({ best, spec }) {
    if (!best) return "";
    const value = spec.metric.includes("accuracy") ? percent(best.value, 2) : figure(best.value);
    const parameters = Object.entries(best.parameters).flatMap(([name, chosen]) => [h("dt", { class: "mono" }, name), h("dd", {}, typeof chosen === "number" ? figure(chosen) : plain(nameAlone(chosen)))]);
    return h("div", { class: "notice" }, h("p", { class: "row between" }, h("strong", {}, `Best: ${value}`), best.job ? h("a", { href: `#/jobs/${best.job}` }, "its job") : ""), h("dl", { class: "facts" }, parameters));
  }

  async cancel(row) {
    if (!(await confirmed(`Cancel ${row.name || row.id}?`, "Its jobs that have not ended are cancelled too.", "Cancel the sweep"))) return;
    try {
      await post(`/v1/sweeps/${row.id}/cancel`);
      toast("The sweep is cancelled.");
    } catch (error) {
      toast(error instanceof Problem ? error.message : "The service does not answer; try again.", "bad");
    }
  }
}

export default {
  path: "/sweeps",
  title: "Sweeps",
  order: 6,
  async show(main, { signal }) {
    const view = new Sweeps(signal);
    main.append(view.element);
    await view.follow().catch((error) => signal.aborted || view.list.replaceChildren(h("p", { class: "notice bad" }, error.message)));
  },
};
