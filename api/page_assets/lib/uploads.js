// What is being uploaded: a box each with its progress, and, of what was not taken, each fault at its place.

import { Problem } from "./api.js";
import { h } from "./dom.js";
import { bytes, percent } from "./format.js";
import { upload } from "./upload.js";

export class Uploads {
  /** `path`: where files are sent; `checking`: what is said once all bytes are there; `signal`: ends it all. */
  constructor({ path, checking, signal }) {
    this.path = path;
    this.checking = checking;
    this.signal = signal;
    this.element = h("div", { class: "stack", id: "uploads", "aria-live": "polite" });
  }

  /** Send what `pack(tell)` makes, under this name; resolves to the answer, or to null if it was not taken. */
  async send(name, pack) {
    const bar = h("progress", { max: "1", value: "0", "aria-label": `Upload of ${name}` });
    const status = h("p", { class: "hint" }, "Packing …");
    const box = h("section", { class: "card upload" }, h("h2", {}, name), bar, status);
    this.element.prepend(box);
    try {
      const file = await pack((share) => (bar.value = share));
      const answer = await upload(this.path, file, name, (share) => this.told(bar, status, share, file.size), this.signal);
      box.remove();
      return answer;
    } catch (error) {
      if (!this.signal.aborted) box.replaceChildren(...refused(name, error, box));
      return null;
    }
  }

  told(bar, status, share, size) {
    if (share < 1) {
      bar.value = share;
      status.textContent = `${percent(share, 0)} of ${bytes(size)}`;
    } else {
      bar.removeAttribute("value");
      status.textContent = this.checking;
    }
  }
}

function refused(name, error, box) {
  const faults = error instanceof Problem ? error.errors : [];
  const told = h("table", { class: "faults" }, h("caption", { class: "unseen" }, "Faults"), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Where"), h("th", { scope: "col" }, "What is wrong, and what to do"))), h("tbody", {}, faults.map((fault) => h("tr", {}, h("th", { scope: "row", class: fault.field ? "mono" : "" }, fault.field || "the data set"), h("td", {}, fault.message)))));
  return [
    h("div", { class: "row between" }, h("h2", {}, `${name} was not taken`), h("button", { type: "button", class: "small", onclick: () => box.remove() }, "Dismiss")),
    h("div", { class: "notice bad", role: "alert" }, h("strong", {}, error.message), faults.length ? h("div", { class: "scroll" }, told) : ""),
  ];
}
