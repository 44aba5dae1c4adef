// An area that takes files: dropped on it, or chosen by a button.

import { h } from "./dom.js";
import { dropped } from "./upload.js";

/** `choices`: `[{label, primary, input}]`, a button and a file input each, whose attributes `input` gives (its `id`,
 *  what it accepts). `take` hears `[{path, file}]`. `more`: what stands below the buttons. */
export function dropZone({ id, title, hint, choices, take, more = "" }) {
  const inputs = choices.map(({ input }) =>
    h("input", { type: "file", hidden: true, ...input, onchange: (event) => {
      take([...event.target.files].map((file) => ({ path: file.webkitRelativePath || file.name, file })));
      event.target.value = ""; // the same file may be chosen again
    } }),
  );
  const buttons = choices.map(({ label, primary }, index) => h("button", { type: "button", class: primary ? "primary" : "", onclick: () => inputs[index].click() }, label));
  const zone = h("section", { class: "drop", id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), h("p", { class: "dim" }, hint), h("div", { class: "row" }, buttons, inputs), more);
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", (event) => zone.contains(event.relatedTarget) || zone.classList.remove("over"));
  zone.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(await dropped(event.dataTransfer));
  });
  return zone;
}
