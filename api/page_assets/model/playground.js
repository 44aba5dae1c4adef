// Give a model an image, see what it takes it for. The service decodes and predicts; here images are only shown.

import { Problem, problemOf, sessionHeaders } from "../lib/api.js";
import { dropZone } from "../lib/drop.js";
import { freshId, h } from "../lib/dom.js";
import { percent } from "../lib/format.js";

const TOP = 5;
const AT_ONCE = 16;
const SHOWN = 24;
const TYPES = "image/png,image/jpeg,image/webp,image/bmp";

export class Playground {
  constructor(model, signal) {
    Object.assign(this, { model, signal });
    this.results = h("div", { class: "cards predictions", id: "predictions", "aria-live": "polite" });
    this.samples = h("div", { class: "samples" });
    const zone = dropZone({
      id: "playground",
      title: "Drop an image here",
      hint: `PNG, JPEG, WebP or BMP, up to ${AT_ONCE} at once; or paste one. It is resized to ${model.architecture.image_size} x ${model.architecture.image_size} ${model.architecture.channels === 1 ? "grey" : "colour"} pixels, as the training images were.`,
      choices: [{ label: "Choose an image", primary: true, input: { id: "image", accept: TYPES, multiple: true } }],
      take: (entries) => this.take(entries.map(({ file }) => file)),
      more: this.samples,
    });
    this.element = h("section", { class: "stack", "aria-label": "Playground" }, zone, this.results);
    document.addEventListener("paste", (event) => event.clipboardData.files.length && this.take([...event.clipboardData.files]), { signal });
  }

  /** Offer images to try: elements, each with how to get its file. */
  offer(samples) {
    if (!samples.length) return;
    this.samples.replaceChildren(
      h("p", { class: "dim" }, "or try one that it did not learn from:"),
      h("div", { class: "row" }, samples.map(({ picture, label, file }) => h("button", { type: "button", class: "sample", "aria-label": `Predict ${label}`, title: label, onclick: async () => this.take([await file()], label) }, picture))),
    );
  }

  async take(files, note = "") {
    const chosen = files.slice(0, AT_ONCE);
    if (!chosen.length) return;
    const cards = chosen.map((file) => this.card(file, note));
    this.results.prepend(...cards.map(({ element }) => element));
    while (this.results.childElementCount > SHOWN) this.results.lastChild.remove();
    try {
      const { predictions } = await this.ask(chosen);
      predictions.forEach((row, index) => cards[index].show(row));
    } catch (error) {
      if (this.signal.aborted) return;
      const message = error instanceof Problem ? error.message : "The service does not answer; try again.";
      cards.forEach((card, index) => card.refuse(error.errors?.find((fault) => fault.field === `images.${index}`)?.message ?? message));
    }
  }

  async ask(files) {
    const form = new FormData();
    for (const file of files) form.append("image", file, file.name || "image");
    form.append("top_k", String(TOP));
    const answer = await fetch(`/v1/models/${this.model.id}/predict`, { method: "POST", body: form, headers: sessionHeaders(), signal: this.signal });
    if (!answer.ok) throw problemOf(answer.status, await answer.text());
    return answer.json();
  }

  card(file, note) {
    const seen = h("canvas", { "aria-hidden": "true" });
    const body = h("div", { class: "grow" }, h("p", { class: "dim" }, "Looking …"));
    const named = freshId("image");
    const element = h("article", { class: "card prediction", "aria-labelledby": named }, h("div", { class: "seen" }, seen), body);
    const caption = h("p", { class: "hint", id: named }, note || file.name || "pasted image");
    draw(file, seen, this.model.architecture.image_size);
    return {
      element,
      show: (row) => body.replaceChildren(h("p", { class: "verdict" }, h("strong", {}, row.label), h("span", { class: "number" }, percent(row.probability))), bars(row.top), caption),
      refuse: (message) => body.replaceChildren(h("p", { class: "fault", role: "alert" }, message), caption),
    };
  }
}

/** The most probable classes, a bar each. */
function bars(top) {
  const rows = top.flatMap(({ label, probability }) => {
    const fill = h("i");
    fill.style.width = `${100 * probability}%`;
    return [h("dt", { title: label }, label), h("dd", { class: "bar", "aria-hidden": "true" }, fill), h("dd", { class: "number" }, percent(probability))];
  });
  return h("dl", { class: "bars" }, rows);
}

/** Show an image about as the network sees it: a square of so many pixels. */
async function draw(file, canvas, side = 64) {
  try {
    const image = await createImageBitmap(file);
    canvas.width = canvas.height = side;
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, side, side);
  } catch {
    // no image that this browser knows; the service says what is wrong with it
  }
}
