// Data sets: what is there and what is in it, and uploading more by dropping files or a folder.

import { Problem, all, may, pause, query, remove } from "../lib/api.js";
import { dropZone } from "../lib/drop.js";
import { confirmed, h, stateBadge, toast } from "../lib/dom.js";
import { ago, bytes, count, figure } from "../lib/format.js";
import { tile } from "../lib/sheet.js";
import { packed } from "../lib/upload.js";
import { Uploads } from "../lib/uploads.js";

const CHECKED_EVERY = 2000;
const LOOKED_AT_SECONDS = 120;
const MOST_BARS = 100;
const MOST_VALUES = 8;
const THUMBNAIL = 40;

class Datasets {
  constructor(signal) {
    this.signal = signal;
    this.list = h("div", { class: "cards", id: "datasets" });
    this.uploads = new Uploads({ path: `/v1/datasets${query({ wait: LOOKED_AT_SECONDS })}`, checking: "All bytes are there. A worker looks at every image …", signal });
    this.element = h("div", { class: "stack" }, h("h1", {}, "Data sets"), may("write") ? this.dropZone() : "", this.uploads.element, this.list);
  }

  dropZone() {
    return dropZone({
      id: "drop",
      title: "Drop a folder of photos or an archive here",
      hint: ["A folder with one folder of images per class (PNG, JPEG, WebP, BMP), a zip or tar of it, or NPZ with ", h("code", {}, "images"), " and ", h("code", {}, "labels"), "; or a table: a CSV or Parquet file."],
      choices: [
        { label: "Choose a folder", primary: true, input: { id: "folder", webkitdirectory: "" } },
        { label: "Choose a file", input: { id: "file", accept: ".zip,.tar,.gz,.tgz,.npz,.csv,.parquet" } },
      ],
      take: (entries) => this.take(entries),
    });
  }

  async take(entries) {
    if (!entries.length) return;
    const name = entries[0].path.split("/")[0].replace(/\.(zip|tar|tar\.gz|tgz|npz|csv|parquet)$/, "");
    const row = await this.uploads.send(name, (tell) => packed(entries, tell));
    if (!row) return;
    toast(row.state === "ready" ? `${row.name}: ready, ${row.profile.table ? `${count(row.profile.table.rows)} rows` : `${count(row.profile.images)} images`}.` : `${row.name} is here; a worker has yet to look at it.`);
    await this.load();
  }

  async load() {
    const rows = await all("/v1/datasets", {}, { signal: this.signal });
    this.list.replaceChildren(...rows.map((row) => this.card(row)));
    const waiting = rows.some((row) => row.state === "checking");
    if (waiting) {
      await pause(CHECKED_EVERY, this.signal);
      await this.load();
    }
  }

  card(row) {
    const element = h(
      "article",
      { class: "card dataset", dataset: { id: row.id } },
      h("div", { class: "row between" }, h("h2", {}, row.name), stateBadge(row.state)),
      this.facts(row),
      ...(row.profile?.table ? this.columns(row.profile.table) : this.balance(row)),
      ...this.findings(row),
    );
    const buttons = h("div", { class: "row" });
    if (may("write") && row.state === "ready") buttons.append(h("a", { class: "button small", href: `#/new?dataset=${row.id}`, "aria-label": `Train on it: ${row.name}` }, "Train on it"));
    if (may("write") && !row.builtin) buttons.append(h("button", { type: "button", class: "small danger", "aria-label": `Delete ${row.name}`, onclick: () => this.delete(row, element) }, "Delete"));
    element.append(buttons);
    return element;
  }

  facts(row) {
    const profile = row.profile ?? {};
    const side = (size) => `${size.width} x ${size.height}`;
    const sizes = profile.sizes && (side(profile.sizes.min) === side(profile.sizes.max) ? side(profile.sizes.min) : `${side(profile.sizes.min)} to ${side(profile.sizes.max)}`);
    const facts = [
      ["Id", h("span", { class: "mono" }, row.id)],
      ["Rows", profile.table ? count(profile.table.rows) : null],
      ["Columns", profile.table ? count(profile.table.columns.length) : null],
      ["Images", typeof profile.images === "number" && !profile.table ? `${count(profile.images)}${profile.validation_images ? `, ${count(profile.validation_images)} for validation` : ""}` : null],
      ["Pixels", sizes ? `${sizes}, ${profile.channels === 1 ? "grey" : "RGB"}` : null],
      ["Duplicates", profile.duplicates ? count(profile.duplicates) : null],
      ["File", row.size ? `${row.filename ?? row.format}, ${bytes(row.size)}` : null],
      ["Uploaded", row.created_at ? ago(row.created_at) : null],
    ];
    return h("dl", { class: "facts" }, facts.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }

  /** What the columns of a table hold, and how often each value of those with few occurs. */
  columns({ columns }) {
    const told = (column) => {
      if (column.kind === "skipped") return column.reason;
      const values = column.values?.slice(0, MOST_VALUES).map(({ value, count: number }) => `${value} (${count(number)})`).join(", ");
      const range = column.kind === "number" && column.min !== null ? `${figure(column.min)} to ${figure(column.max)}` : "";
      return [values && column.values.length <= MOST_VALUES ? values : range || `${count(column.distinct)} different`, column.missing ? `${count(column.missing)} missing` : ""].filter(Boolean).join("; ");
    };
    const rows = columns.slice(0, MOST_BARS).map((column) => h("tr", {}, h("th", { scope: "row" }, column.name), h("td", {}, column.kind), h("td", {}, told(column))));
    const head = h("thead", {}, h("tr", {}, ["Column", "Kind", "Values"].map((name) => h("th", { scope: "col" }, name))));
    const more = columns.length > MOST_BARS ? h("p", { class: "hint" }, `and ${columns.length - MOST_BARS} more`) : "";
    return [h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Columns" }, h("table", {}, h("caption", { class: "unseen" }, "Columns of the table"), head, h("tbody", {}, rows))), more];
  }

  /** Of each class a bar, as long as its share of the largest, and some of its images. */
  balance(row) {
    const classes = row.profile?.classes ?? [];
    if (!classes.length) return [];
    if ((classes[0].count ?? null) === null) return [h("p", { class: "hint" }, `${classes.length} classes: ${classes.map(({ name }) => name).join(", ")}`)];
    const most = Math.max(...classes.map(({ count: number }) => number), 1);
    const bars = classes.slice(0, MOST_BARS).flatMap(({ name, count: number }, index) => {
      const fill = h("i");
      fill.style.width = `${(100 * number) / most}%`;
      return [h("dt", { title: name }, name), h("dd", { class: "bar", "aria-hidden": "true" }, fill), h("dd", { class: "number" }, count(number)), this.strip(row, index, name, number)];
    });
    const more = classes.length > MOST_BARS ? h("p", { class: "hint" }, `and ${classes.length - MOST_BARS} more`) : "";
    return [h("h3", {}, `${classes.length} classes`), h("dl", { class: "bars balance", tabindex: "0", "aria-label": "Images per class" }, bars), more];
  }

  strip(row, index, name, number) {
    const layout = row.profile.thumbnails;
    if (!layout || index >= layout.rows) return "";
    const pictures = Array.from({ length: Math.min(layout.columns, number) }, (_, column) => tile(`/v1/datasets/${row.id}/thumbnails`, layout, index, column, THUMBNAIL));
    return h("dd", { class: "strip" }, h("div", { role: "img", "aria-label": `Some images of ${name}` }, pictures));
  }

  findings(row) {
    const warnings = row.profile?.warnings ?? [];
    const faults = row.error?.faults ?? [];
    return [
      warnings.length ? h("div", { class: "notice busy" }, h("strong", {}, "Worth a look"), h("ul", {}, warnings.map((text) => h("li", {}, text)))) : "",
      row.error ? h("div", { class: "notice bad" }, h("strong", {}, row.error.message ?? "It cannot be used."), h("ul", {}, faults.map((fault) => h("li", {}, fault.where ? h("code", {}, fault.where) : "", ` ${fault.message}${fault.remedy ? `; ${fault.remedy}` : ""}`)))) : "",
    ];
  }

  async delete(row, element) {
    if (!(await confirmed(`Delete ${row.name}?`, "Jobs that have ended keep their results.", "Delete the data set"))) return;
    try {
      await remove(`/v1/datasets/${row.id}`);
      element.remove();
      toast(`${row.name} was deleted.`);
    } catch (error) {
      toast(error instanceof Problem ? error.message : "The service does not answer; try again.", "bad");
    }
  }
}

export default {
  path: "/datasets",
  title: "Data sets",
  order: 3,
  async show(main, { signal }) {
    const view = new Datasets(signal);
    main.append(view.element);
    await view.load().catch((error) => signal.aborted || view.list.replaceChildren(h("p", { class: "notice bad" }, error.message)));
  },
};
