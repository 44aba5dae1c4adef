// One model: try it, see what it confuses and what its weights look like, and take it along.

import { Problem, getPatiently, may, remove } from "../lib/api.js";
import { confirmed, h, toast } from "../lib/dom.js";
import { dateTime } from "../lib/format.js";
import { datasetNames } from "../lib/names.js";
import { ConfusionMatrix } from "../model/confusion.js";
import { Downloads, lineage, tiles } from "../model/facts.js";
import { Layers } from "../model/layers.js";
import { Playground } from "../model/playground.js";
import { Rows } from "../model/rows.js";

class ModelView {
  constructor(model, names, signal) {
    Object.assign(this, { model, signal });
    this.downloads = new Downloads(model, signal);
    const parts = [];
    if (model.format === "packed") {
      this.playground = new Playground(model, signal);
      this.layers = new Layers(model, signal);
      const confusion = new ConfusionMatrix(model, (file, label) => this.tried(file, label));
      this.playground.offer(confusion.samples());
      parts.push(this.playground.element, confusion.element, this.layers.element);
    } else if (model.format === "trees") {
      parts.push(new Rows(model, signal).element);
      if (model.evaluation?.confusion) parts.push(new ConfusionMatrix(model, () => {}).element);
    } else {
      parts.push(h("p", { class: "notice" }, "These are weights in full precision: jobs start from them; they do not predict alone."));
    }
    this.element = h(
      "div",
      { class: "stack" },
      h("div", {}, h("nav", { class: "crumbs", "aria-label": "Path" }, h("a", { href: "#/models" }, "Models"), " / ", h("span", { class: "mono" }, model.id)), h("div", { class: "row between" }, h("div", {}, h("h1", {}, model.name || model.id), h("p", { class: "hint" }, `made ${dateTime(model.created_at)}`)), h("div", { class: "row" }, this.downloads.element, may("write") ? h("button", { type: "button", class: "danger", id: "delete", onclick: () => this.delete() }, "Delete") : "")), lineage(model, names)),
      h("dl", { class: "tiles" }, tiles(model)),
      ...parts,
    );
  }

  /** An image of the confusion matrix is predicted in the playground. */
  tried(file, label) {
    this.playground.take([file], label);
    this.playground.results.scrollIntoView({ block: "center", behavior: "smooth" });
  }

  load() {
    return Promise.all([this.downloads.load(), this.layers?.load()]);
  }

  async delete() {
    const called = this.model.name || this.model.id;
    if (!(await confirmed(`Delete ${called}?`, "The job that made it keeps its files; jobs that start from it keep theirs.", "Delete the model"))) return;
    try {
      await remove(`/v1/models/${this.model.id}`);
      toast(`${called} was deleted.`);
      location.hash = "#/models";
    } catch (error) {
      toast(error instanceof Problem ? error.message : "The service does not answer; try again.", "bad");
    }
  }
}

export default {
  path: "/models/:id",
  title: "Model",
  under: "/models",
  async show(main, { params, signal }) {
    main.append(h("h1", { class: "unseen" }, "Model"));
    try {
      const [model, names] = await Promise.all([getPatiently(`/v1/models/${encodeURIComponent(params.id)}`, { signal }), datasetNames(signal)]);
      document.title = `${model.name || model.id} · fqt`;
      const view = new ModelView(model, names, signal);
      main.replaceChildren(view.element);
      await view.load();
    } catch (error) {
      if (signal.aborted) return;
      main.replaceChildren(h("h1", {}, "No such model"), h("p", { class: "notice bad" }, error.message, " ", h("a", { href: "#/models" }, "All models")));
    }
  },
};
