// What several jobs came to, and which of their options differ.

import { h, stateBadge } from "../lib/dom.js";
import { bytes, count, figure, percent, plain, seconds } from "../lib/format.js";

/** What people call a metric, how it is written, and whether more (1) or less (-1) of it is better. */
const KNOWN = {
  "step/loss": ["Training loss", figure, -1],
  "epoch/train_loss": ["Training loss by epoch", figure, -1],
  "epoch/validation_accuracy": ["Validation accuracy", (value) => percent(value, 2), 1],
  "epoch/validation_loss": ["Validation loss", figure, -1],
  "epoch/train_accuracy": ["Training accuracy", (value) => percent(value, 2), 1],
  "step/learning_rate": ["Learning rate", figure, 0],
  "step/images_per_second": ["Images per second", (value) => count(Math.round(value)), 1],
  "epoch/images_per_second": ["Images per second by epoch", (value) => count(Math.round(value)), 1],
  "epoch/seconds": ["Seconds", figure, 0],
};

const ORDER = Object.keys(KNOWN);

/** Every metric that a job reported, those that people look at first. */
export function metricsOf(jobs) {
  const found = new Map();
  for (const { metrics } of jobs) for (const { kind, name } of metrics) found.set(`${kind}/${name}`, { kind, name });
  const place = (id) => (ORDER.indexOf(id) + ORDER.length + 1) % (ORDER.length + 1);
  return [...found]
    .sort(([a], [b]) => place(a) - place(b) || (a < b ? -1 : 1))
    .map(([id, metric]) => {
      const [title = `${metric.name.replaceAll("_", " ")}`, format = figure, better = 0] = KNOWN[id] ?? [];
      return { id, ...metric, title, format, better };
    });
}

/** Rows of results: what it is, a text per job, and which jobs are best in it. */
export function results(jobs, details, metrics) {
  const rows = [{ name: "state", values: jobs.map((job) => job.state) }];
  const accuracies = jobs.map((job) => job.result.validation_accuracy);
  rows.push({ name: "best validation accuracy", values: accuracies.map((value) => percent(value, 2)), best: bestOf(accuracies, 1) });
  for (const { id, kind, name, title, format, better } of metrics) {
    const own = jobs.map((job) => job.metrics.find((row) => row.kind === kind && row.name === name));
    const write = (point) => (point && point.value !== null ? format(point.value) : "–");
    rows.push({
      name: id === "epoch/seconds" ? "seconds of an epoch" : title.toLowerCase(),
      values: own.map((row) => write(row?.last)),
      notes: own.map((row) => (row?.min && row.points > 1 ? `${write(row.min)} (step ${count(row.min.step)}) to ${write(row.max)} (step ${count(row.max.step)})` : "")),
      best: bestOf(own.map((row) => row?.last.value), better),
    });
  }
  rows.push({ name: "time", values: details.map((job) => (job?.ran_seconds ? seconds(job.ran_seconds) : "–")) });
  rows.push({ name: "arithmetic", values: details.map((job) => job?.record?.arithmetic ?? "–") });
  rows.push({ name: "kernels", values: details.map((job) => job?.record?.isa ?? "–") });
  rows.push({ name: "model", values: details.map((job) => bytes(Object.values(job?.result?.artifacts ?? {}).find((file) => file.kind === "model")?.size)) });
  return rows;
}

/** Rows of options: those that differ, then the others. */
export function options({ jobs, differing, equal }) {
  const differ = differing.map((name) => ({ name, values: jobs.map((job) => (name in job.parameters ? plain(job.parameters[name]) : "–")) }));
  return [...differ, ...Object.entries(equal ?? {}).map(([name, value]) => ({ name, values: jobs.map(() => plain(value)) }))];
}

function bestOf(values, better) {
  const finite = values.filter(Number.isFinite);
  if (!better || new Set(finite).size < 2) return new Set();
  const best = better > 0 ? Math.max(...finite) : Math.min(...finite);
  return new Set(values.flatMap((value, index) => (value === best ? [index] : [])));
}

/** A table with a column per job; `onlyDifferent` leaves out rows that are the same for all. */
export function table(id, heading, rows, titles, onlyDifferent) {
  const differs = ({ values }) => new Set(values).size > 1;
  const shown = onlyDifferent && titles.length > 1 ? rows.filter(differs) : rows;
  const same = rows.length - shown.length;
  const cell = (row, index) => {
    const value = row.values[index];
    const best = row.best?.has(index);
    return h("td", { class: best ? "number best" : "number" }, row.name === "state" ? stateBadge(value) : value, best ? h("span", { class: "unseen" }, " (best)") : "", row.notes?.[index] ? h("small", {}, row.notes[index]) : "");
  };
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
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "What"), titles.map((title, index) => h("th", { scope: "col" }, `${index + 1} ${title}`)))),
        h("tbody", {}, shown.map((row) => h("tr", { class: differs(row) ? "differs" : "" }, h("th", { scope: "row", class: "mono" }, row.name), titles.map((_, index) => cell(row, index))))),
      ),
    ),
  );
}
