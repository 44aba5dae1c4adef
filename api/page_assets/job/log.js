// What a job told on its way, in lines.

import { getPatiently, query } from "../lib/api.js";
import { h } from "../lib/dom.js";
import { bytes } from "../lib/format.js";

const TYPES = ["state", "log", "warning", "checkpoint", "artifact"];
const PAGE = 1000;
const KEPT = 2000;

function line({ type, data }) {
  if (type === "state") return `${data.from ?? "new"} → ${data.to}${data.reason ? ` (${data.reason})` : ""}`;
  if (type === "checkpoint") return `checkpoint at step ${data.step}`;
  if (type === "artifact") return `file ${data.name}, ${bytes(data.size)}`;
  return data.message;
}

export class Log {
  constructor(jobId, signal) {
    this.jobId = jobId;
    this.signal = signal;
    this.last = 0;
    this.list = h("ol", { id: "log" });
    this.scroll = h("div", { class: "log", tabindex: "0", role: "log", "aria-label": "Events, oldest first" }, this.list);
    this.element = h("section", { class: "card" }, h("h2", {}, "Events"), this.scroll);
  }

  /** Fetch the lines so far. */
  async load() {
    for (;;) {
      const page = await getPatiently(`/v1/jobs/${this.jobId}/events${query({ type: TYPES, after: this.last, limit: PAGE })}`, { signal: this.signal });
      this.take(page.data);
      if (!page.has_more) return;
    }
  }

  take(events) {
    const atEnd = this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < 40;
    for (const event of events) {
      if (event.seq <= this.last || !TYPES.includes(event.type)) continue;
      this.last = event.seq;
      const kind = event.type === "state" ? "state-change" : (event.data.level ?? event.type);
      const instant = new Date(event.created_at);
      this.list.append(h("li", { class: kind }, h("time", { datetime: event.created_at, title: instant.toLocaleString() }, instant.toLocaleTimeString()), h("span", {}, line(event))));
    }
    while (this.list.childElementCount > KEPT) this.list.firstChild.remove();
    if (atEnd) this.scroll.scrollTop = this.scroll.scrollHeight;
  }
}
