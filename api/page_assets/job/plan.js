// What a job would take, beside the form that describes it.

import { h } from "../lib/dom.js";
import { bytes, count, examplesOf, figure, large, percent, seconds } from "../lib/format.js";

const pixels = (width, height) => `${width} × ${height}`;
const colours = (channels) => (channels === 1 ? "grey" : "RGB");

export class PlanPanel {
  constructor() {
    this.body = h("div", {}, h("p", { class: "dim" }, "The plan appears as soon as the form is complete."));
    this.element = h("section", { class: "card plan", id: "plan", "aria-live": "polite", "aria-busy": "false" }, h("h2", {}, "Plan"), this.body);
  }

  set busy(on) {
    this.element.classList.toggle("stale", on);
    this.element.setAttribute("aria-busy", String(on));
  }

  refuse(number) {
    this.body.replaceChildren(h("p", { class: "fault" }, number === 1 ? "One field is wrong." : `${number} fields are wrong.`), h("p", { class: "dim" }, "The plan appears when they are right."));
  }

  show(plan) {
    const network = plan.parameters > 0;
    const rows = [
      [examplesOf(plan.spec) === "rows" ? "Rows" : "Images", `${count(plan.train_images)} + ${count(plan.validation_images)} to validate`],
      plan.input?.found && ["They have", `${pixels(plan.input.found.width, plan.input.found.height)}, ${colours(plan.input.found.channels)}`],
      plan.input && ["The network sees", `${pixels(plan.input.image_size, plan.input.image_size)}, ${colours(plan.input.channels)}`],
      ["Classes", plan.classes.length ? count(plan.classes.length) : "none: a number is predicted"],
      ["Steps", `${count(plan.steps)} (${count(plan.steps_per_epoch)} per epoch)`],
      ["Time", plan.seconds === null ? "not known yet" : `about ${seconds(plan.seconds)}`],
      ["Memory", bytes(plan.memory_bytes)],
      ["Arithmetic", plan.arithmetic],
      network && ["Gradient bits", `${plan.bits_are_chosen ? "at most " : ""}${figure(plan.gradient_bits)} on average`],
      network && ["Multiply-adds per step", large(plan.step_macs)],
      network && ["Parameters", large(plan.parameters)],
      network && ["of them 1 bit", percent(plan.binary_parameters / plan.parameters)],
      ["Model", network ? `${bytes(plan.model_bytes)}, ${figure(Number((plan.fp32_bytes / plan.model_bytes).toFixed(1)))}x smaller than FP32` : `at most about ${bytes(plan.model_bytes)}`],
    ].filter(Boolean);
    this.body.replaceChildren(
      h("dl", {}, rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
      plan.seconds_reason ? h("p", { class: "hint" }, plan.seconds_reason) : "",
      plan.warnings.length ? h("div", { class: "notice busy" }, h("strong", {}, "It could not run now"), h("ul", {}, plan.warnings.map((row) => h("li", {}, row.message)))) : "",
      plan.advice.length ? h("div", { class: "notice busy" }, h("strong", {}, "Worth a change first"), h("ul", {}, plan.advice.map((row) => h("li", {}, row.message)))) : "",
      plan.presets.length ? this.presets(plan) : "",
    );
  }

  presets(plan) {
    return h(
      "details",
      {},
      h("summary", {}, "With a preset instead"),
      h(
        "table",
        {},
        h("caption", { class: "unseen" }, "What each preset of fqt would cost"),
        h("thead", {}, h("tr", {}, ["Preset", "Bits", "Multiply-adds"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, plan.presets.map((row) => h("tr", { title: row.summary }, h("th", { scope: "row" }, row.name), h("td", {}, figure(row.gradient_bits)), h("td", {}, large(row.step_macs))))),
      ),
    );
  }
}
