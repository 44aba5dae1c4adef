// The report of a sweep: what differs beside the seed, with mean and deviation over seeds, as bars and as a table.

import { getPatiently, pause } from "../lib/api.js";
import { h, stateBadge } from "../lib/dom.js";
import { bytes, figure, large, percent, seconds } from "../lib/format.js";

const PERIOD = 4000;

/** An energy with its unit. */
function joules(value) {
  for (const [size, unit] of [[1, "J"], [1e-3, "mJ"], [1e-6, "µJ"]]) if (value >= size) return `${Number((value / size).toPrecision(3))} ${unit}`;
  return `${Number((value / 1e-9).toPrecision(3))} nJ`;
}

const energy = (cost) => cost.operation_joules + cost.movement_joules;

function spread(found, write) {
  if (!found) return "–";
  return found.deviation === null ? write(found.mean) : `${write(found.mean)} ± ${write(found.deviation)}`;
}

/** Columns of the table: heading, text of a row. */
function columns({ metric }) {
  const write = metric.includes("accuracy") ? (value) => percent(value) : figure;
  const cost = (text) => (row) => (row.cost ? text(row.cost) : "–");
  return [
    [metric.replaceAll("_", " "), (row) => spread(row.value, write)],
    ["jobs", (row) => `${row.runs.filter((run) => run.state === "succeeded").length} of ${row.runs.length}`],
    ["arithmetic", (row) => (row.arithmetic ? `${row.arithmetic} (${row.kernels})` : "–")],
    ["time per epoch", (row) => spread(row.seconds_per_epoch, seconds)],
    ["1-bit operations of a step", cost((found) => large(found.binary_macs))],
    ["8-bit", cost((found) => large(found.byte_macs))],
    ["float", cost((found) => large(found.float_macs))],
    ["bytes moved", cost((found) => bytes(found.bytes_moved))],
    ["energy proxy: operations", cost((found) => joules(found.operation_joules))],
    ["with bytes", cost((found) => joules(energy(found)))],
    ["peak memory", (row) => (row.memory_bytes ? bytes(row.memory_bytes.mean) : "–")],
    ["gradient variance", (row) => (row.gradient_variance ? figure(row.gradient_variance.mean) : "–")],
    ["model", (row) => bytes(row.model_bytes)],
  ];
}

/** A bar for each row, with a whisker for the deviation; the table tells the same to those who cannot see it. */
function bars(title, rows, valueOf, write) {
  const values = rows.map(valueOf);
  const most = Math.max(...values.map((found) => (found ? found.mean + (found.deviation ?? 0) : 0))) || 1;
  const share = (value) => `${(100 * value) / most}%`;
  const lines = rows.map((row, index) => {
    const found = values[index];
    const bar = h("span", { class: `bar ${row.arithmetic ?? ""}` });
    bar.style.width = share(found?.mean ?? 0);
    const whisker = h("span", { class: "whisker" });
    whisker.hidden = !found?.deviation;
    whisker.style.left = share(Math.max(0, (found?.mean ?? 0) - (found?.deviation ?? 0)));
    whisker.style.width = share(2 * (found?.deviation ?? 0));
    return h("li", {}, h("span", { class: "called" }, row.label), h("span", { class: "track" }, bar, whisker), h("span", { class: "number" }, found ? write(found) : "–"));
  });
  return h("figure", { class: "card gauges", "aria-hidden": "true" }, h("figcaption", {}, title), h("ul", {}, lines));
}

class Report {
  constructor(id, signal) {
    Object.assign(this, { id, signal });
    this.body = h("div", { class: "stack" });
    this.state = h("span");
    this.title = h("h1", {}, "Report");
    this.element = h("div", { class: "stack" }, h("p", { class: "crumbs" }, h("a", { href: "#/sweeps" }, "Sweeps")), h("div", { class: "row between" }, this.title, this.state), this.body);
  }

  async follow() {
    for (;;) {
      const found = await getPatiently(`/v1/sweeps/${this.id}/report`, { signal: this.signal });
      this.draw(found);
      if (found.state !== "running") return;
      await pause(PERIOD, this.signal);
    }
  }

  draw(found) {
    this.title.textContent = found.name || found.sweep;
    this.state.replaceChildren(stateBadge(found.state));
    if (!found.rows.length) {
      this.body.replaceChildren(h("p", { class: "notice" }, "No jobs yet."));
      return;
    }
    const accuracy = found.metric.includes("accuracy") ? (value) => spread(value, (part) => percent(part)) : (value) => spread(value, figure);
    const cost = (row) => row.cost && { mean: energy(row.cost), deviation: null };
    this.body.replaceChildren(
      h(
        "div",
        { class: "charts" },
        bars(found.metric.replaceAll("_", " "), found.rows, (row) => row.value, accuracy),
        bars("energy proxy of a step", found.rows, cost, ({ mean }) => joules(mean)),
        bars("time per epoch", found.rows, (row) => row.seconds_per_epoch, (value) => spread(value, seconds)),
      ),
      this.table(found),
      this.failures(found),
      h("p", { class: "hint" }, "Means ± standard deviations over the jobs that succeeded. Operations and bytes are counted from the layers and the method; the energy is a proxy (Horowitz, ISSCC 2014, 45 nm), not measured. Arithmetic is what the products of converted layers ran in."),
      h("p", {}, h("a", { class: "button small", href: `#/compare?sweep=${this.id}` }, "Curves of its jobs")),
    );
  }

  table(found) {
    const shown = columns(found);
    const head = h("tr", {}, h("th", { scope: "col" }, "What"), shown.map(([name]) => h("th", { scope: "col" }, name)));
    const lines = found.rows.map((row) => h("tr", {}, h("th", { scope: "row" }, row.label), shown.map(([, text]) => h("td", { class: "number" }, text(row)))));
    return h("section", { class: "card" }, h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Figures of the report" }, h("table", { id: "report" }, h("thead", {}, head), h("tbody", {}, lines))));
  }

  failures({ rows }) {
    const lost = rows.flatMap((row) => row.runs.filter(({ state }) => !["succeeded", "running"].includes(state)).map((run) => ({ row, run })));
    if (!lost.length) return "";
    return h("div", { class: "notice bad", id: "lost" }, h("strong", {}, "Jobs without a result"), h("ul", {}, lost.map(({ row, run }) => h("li", {}, run.job ? h("a", { href: `#/jobs/${run.job}` }, row.label) : row.label, `, ${run.seed === null ? `trial ${run.number}` : `seed ${run.seed}`}: ${run.state}${run.reason ? `, ${run.reason}` : ""}`))));
  }
}

export default {
  path: "/sweeps/:id",
  under: "/sweeps",
  title: "Report",
  async show(main, { params, signal }) {
    const view = new Report(params.id, signal);
    main.append(view.element);
    await view.follow().catch((error) => signal.aborted || view.body.replaceChildren(h("p", { class: "notice bad", role: "alert" }, error.message)));
  },
};
