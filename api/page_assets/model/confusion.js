// What a model takes for what: a table of counts, coloured by their share, and images of the cell that is chosen.

import { h } from "../lib/dom.js";
import { count, percent } from "../lib/format.js";
import { cut, tile } from "../lib/sheet.js";

const MOST_CLASSES = 30;
const STRONGEST = 45; // per cent of colour: figures stay readable on it
const SIZE = 72;
const SAMPLES = 8;

export class ConfusionMatrix {
  /** `ontry(file, label)`: told which example is to be predicted. */
  constructor(model, ontry) {
    Object.assign(this, { model, ontry });
    const { confusion, examples } = model.evaluation ?? {};
    this.confusion = confusion;
    this.layout = examples;
    this.url = `/v1/models/${model.id}/examples`;
    this.panel = h("div", { class: "examples", id: "examples", "aria-live": "polite" });
    this.element = h("section", { class: "card", id: "confusion" }, h("h2", {}, "What it confuses"), ...this.content());
  }

  content() {
    if (!this.confusion) return [h("p", { class: "dim" }, this.model.source === "upload" ? "An upload has no confusion matrix: only a job that trained here saw the validation images." : "This model was made before confusions were kept, or had no validation images.")];
    const { images, matrix } = this.confusion;
    const what = this.model.format === "trees" ? "rows" : "images";
    const right = this.confusion.right.reduce((sum, n) => sum + n, 0);
    const told = h("p", { class: "dim" }, `${count(right)} of ${count(images)} validation ${what} are right. Rows: what they show; columns: what the model says.${this.layout ? " Choose a cell to see images of it." : ""}`);
    if (matrix && matrix.length <= MOST_CLASSES) return [told, h("div", { class: "confused" }, this.table(matrix), this.panel)];
    return [h("p", { class: "dim" }, `${count(right)} of ${count(images)} validation ${what} are right. What is confused most:`), h("div", { class: "confused" }, this.pairs(), this.panel)];
  }

  table(matrix) {
    const { classes } = this.confusion;
    this.buttons = matrix.map((row, actual) => row.map((number, predicted) => this.cell(number, actual, predicted)));
    this.buttons[0][0].tabIndex = 0;
    const body = matrix.map((row, actual) => h("tr", {}, h("th", { scope: "row", title: classes[actual] }, classes[actual]), this.buttons[actual].map((button) => h("td", {}, button)), h("td", { class: "number share" }, percent(row[actual] / Math.max(1, this.confusion.of[actual]), 0))));
    const table = h(
      "table",
      { class: "matrix" },
      h("caption", { class: "unseen" }, "Confusion matrix. Arrow keys move between cells."),
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "unseen" }, "True class")), classes.map((name) => h("th", { scope: "col", title: name }, name)), h("th", { scope: "col", class: "share" }, "right"))),
      h("tbody", {}, body),
    );
    table.addEventListener("keydown", (event) => this.pressed(event));
    return h("div", { class: "scroll" }, table);
  }

  cell(number, actual, predicted) {
    const { classes, of } = this.confusion;
    const right = actual === predicted;
    const told = right ? `${classes[actual]}: ${number} right of ${of[actual]}` : `${classes[actual]} taken for ${classes[predicted]}: ${number} of ${of[actual]}`;
    const button = h("button", { type: "button", tabindex: "-1", "aria-label": told, title: told, "aria-pressed": "false", class: number ? "" : "none", dataset: { actual, predicted }, onclick: () => this.choose(actual, predicted) }, number ? count(number) : "·");
    const share = number / Math.max(1, of[actual]);
    const strength = number ? 6 + (STRONGEST - 6) * (right ? share : Math.sqrt(share)) : 0; // a few mistakes are to be seen as well
    button.style.background = `color-mix(in srgb, var(--${right ? "good" : "bad"}) ${strength.toFixed(1)}%, var(--card))`;
    return button;
  }

  pressed(event) {
    const move = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!move) return;
    event.preventDefault();
    const { actual, predicted } = event.target.dataset;
    const next = this.buttons[Number(actual) + move[0]]?.[Number(predicted) + move[1]];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  /** With very many classes: the pairs that are confused most. */
  pairs() {
    const { classes, most_confused: pairs } = this.confusion;
    return h("ul", { class: "pairs" }, pairs.map(({ true: actual, predicted, count: number }) => h("li", {}, h("button", { type: "button", class: "small", dataset: { actual, predicted }, onclick: () => this.choose(actual, predicted) }, `${classes[actual]} → ${classes[predicted]}: ${count(number)}`))));
  }

  choose(actual, predicted) {
    for (const button of this.element.querySelectorAll("[data-actual]")) button.setAttribute("aria-pressed", String(Number(button.dataset.actual) === actual && Number(button.dataset.predicted) === predicted));
    const { classes, matrix, most_confused: pairs } = this.confusion;
    const number = matrix ? matrix[actual][predicted] : (pairs.find((pair) => pair.true === actual && pair.predicted === predicted)?.count ?? 0);
    const heading = actual === predicted ? `${classes[actual]}, and said to be` : `${classes[actual]}, taken for ${classes[predicted]}`;
    const shown = this.examplesOf(actual, predicted);
    const hint = !number ? "There is no such image." : !shown.length ? "No images of this cell were kept." : number > shown.length ? `${count(number)} images; these are the ${shown.length} that the model was surest about.` : `${count(number)} ${number === 1 ? "image" : "images"}, the surest first.`;
    this.panel.replaceChildren(
      h("h3", {}, heading),
      h("p", { class: "hint" }, hint),
      h("div", { class: "row" }, shown.map(({ picture, label, file }, index) => h("button", { type: "button", class: "sample", "aria-label": `Example ${index + 1} of ${heading}: predict it`, onclick: async () => this.ontry(await file(), label) }, picture))),
    );
  }

  examplesOf(actual, predicted) {
    const row = this.layout?.cells.findIndex(([one, other]) => one === actual && other === predicted) ?? -1;
    if (row < 0) return [];
    const [, , number] = this.layout.cells[row];
    return Array.from({ length: number }, (_, column) => this.example(row, column));
  }

  example(row, column) {
    const [actual] = this.layout.cells[row];
    return {
      picture: tile(this.url, this.layout, row, column, SIZE),
      label: `a validation image that shows ${this.confusion.classes[actual]}`,
      file: () => cut(this.url, this.layout, row, column),
    };
  }

  /** A few images to try: of each class the one that the model is surest about, and mistakes. */
  samples() {
    const cells = (this.layout?.cells ?? []).map(([actual, predicted], row) => ({ wrong: actual !== predicted, row }));
    const wrong = cells.filter((cell) => cell.wrong).slice(0, SAMPLES / 2);
    const right = cells.filter((cell) => !cell.wrong).slice(0, SAMPLES - wrong.length);
    return [...right, ...wrong].map(({ row }) => this.example(row, 0));
  }
}
