// The curves of one job: what was reported so far, and what comes.

import { getPatiently, query } from "../lib/api.js";
import { LineChart } from "../lib/chart.js";
import { h } from "../lib/dom.js";
import { count, examplesOf, figure, percent } from "../lib/format.js";
import { HeatMap } from "../lib/heatmap.js";

const FIRST_POINTS = 4000;
const ALL_POINTS = 100_000;
const LAYER_POINTS = 300;
const LEAST_FLIPPED = "flipped_share";

const NOISE = [
  { name: "accumulated_dw_relative_variance", label: "Variance of ∂L/∂Θ, as it arrives", log: true },
  { name: "dw_relative_variance", label: "Variance of ∂L/∂Θ, own quantiser", log: true },
  { name: "accumulated_dx_relative_variance", label: "Variance of ∂L/∂X, as it arrives", log: true },
  { name: "dx_relative_variance", label: "Variance of ∂L/∂X, own quantiser", log: true },
  { name: "accumulated_dw_cosine", label: "Cosine of ∂L/∂Θ, as it arrives", log: false },
  { name: "dx_cosine", label: "Cosine of ∂L/∂X, own quantiser", log: false },
  { name: "dw_squared_bias", label: "Squared bias of ∂L/∂Θ", log: true },
];
const QUANTISERS = [
  { name: LEAST_FLIPPED, label: "Share of flipped weight signs", log: true },
  { name: "window_share", label: "Share of |x| < 1", log: false },
  { name: "gradient_range", label: "Range of gradients", log: true },
  { name: "kept_samples", label: "Kept samples", log: false },
  { name: "kept_channels", label: "Kept channels", log: false },
];
const WIDTHS = [
  { name: "expected_width", label: "Expected channels", log: false },
  { name: "likeliest_width", label: "Likeliest channels", log: false },
  { name: "widest", label: "Most channels to choose", log: false },
  { name: "widest_probability", label: "Probability of the most", log: false },
];
const BUDGETS = { macs_of_budget: "multiply-adds", parameters_of_budget: "parameters" };
/** The kinds of reports beside those of each step, by what the job does. */
const KINDS = { trees: ["epoch", "full_precision"], search: ["epoch", "search"], training: ["epoch", "quantization", "telemetry"] };

export class Curves {
  constructor(job, signal) {
    this.job = job;
    this.signal = signal;
    this.thinned = false;
    const whole = (x) => count(Math.round(x));
    const share = (value) => `${figure(100 * value)} %`;
    const chart = (title, options = {}) => new LineChart({ title, xFormat: whole, ...options });
    this.loss = chart("Loss", { smoothing: true, onzoom: () => this.loadAll() });
    this.accuracy = chart("Accuracy", { format: (value) => percent(value), log: false });
    this.rate = chart("Learning rate", { format: figure });
    this.examples = examplesOf(job.spec);
    this.speed = chart(this.examples === "rows" ? "Rows per second" : "Images per second", { smoothing: true, log: false });
    this.flips = chart("Weight-flip rate", { format: share });
    this.noise = new HeatMap({ title: "Gradient noise by layer", figures: NOISE });
    this.quantisers = new HeatMap({ title: "Quantisers by layer", figures: QUANTISERS });
    this.budget = chart("Share of the budget", { format: (value) => percent(value), log: false });
    this.widths = new HeatMap({ title: "Widths by layer", figures: WIDTHS });
    this.task = "training";
    if (this.examples === "rows") this.task = "trees";
    else if (job.spec.search) this.task = "search";
    // Trees have neither layers nor weights, and a search quantises no gradients.
    const own = { trees: [], search: [this.widths, this.budget], training: [this.noise, this.quantisers, this.flips] };
    const parts = [this.loss, this.accuracy, this.rate, this.speed, ...own[this.task]];
    const every = new Set([...parts, ...Object.values(own).flat()]);
    signal.addEventListener("abort", () => every.forEach((part) => part.destroy()));
    this.element = h("section", { class: "charts", "aria-label": "Curves" }, parts.map((part) => part.element));
  }

  /** Fetch what was reported so far; give the seq that the event stream goes on after. */
  async load() {
    const steps = this.fetch({ kind: "step", max_points: FIRST_POINTS });
    const others = KINDS[this.task].map((kind) => this.fetch({ kind, max_points: LAYER_POINTS }));
    const step = await steps;
    this.showSteps(step);
    this.thinned = step.data.some((series) => series.steps.length >= FIRST_POINTS / 2);
    const answers = [step];
    for (const other of others) {
      const answer = await other;
      answers.push(answer);
      for (const series of answer.data) series.steps.forEach((at, index) => this.figure(series.kind, series.name, at, series.values[index]));
    }
    this.averageFlips();
    return Math.min(...answers.map((answer) => answer.last_seq));
  }

  fetch(values) {
    return getPatiently(`/v1/jobs/${this.job.id}/metrics${query(values)}`, { signal: this.signal });
  }

  /** Who looks at a part of a long run wants all of its points. */
  async loadAll() {
    if (!this.thinned) return;
    this.thinned = false;
    this.showSteps(await this.fetch({ kind: "step", max_points: ALL_POINTS }));
  }

  showSteps(answer) {
    const targets = { loss: this.loss, learning_rate: this.rate, images_per_second: this.speed };
    const names = { loss: "training", learning_rate: "learning rate", images_per_second: `${this.examples}/s` };
    for (const series of answer.data) targets[series.name]?.set(names[series.name], series.steps, series.values);
  }

  /** Take in a metric event. */
  take(data) {
    if (data.layers) {
      for (const [layer, figures] of Object.entries(data.layers)) {
        for (const [name, value] of Object.entries(figures)) this.figure(data.kind, `${layer}/${name}`, data.step, value);
      }
      this.averageFlips();
    } else {
      for (const [name, value] of Object.entries(data)) this.figure(data.kind, name, data.step, value);
    }
  }

  figure(kind, name, step, value) {
    if (this.task === "search" && name.startsWith("validation_")) return; // no images are set aside
    if (kind === "step") {
      if (name === "loss") this.loss.add("training", step, value);
      else if (name === "learning_rate") this.rate.add("learning rate", step, value);
      else if (name === "images_per_second") this.speed.add(`${this.examples}/s`, step, value);
    } else if (kind === "epoch") {
      if (name === "validation_loss") this.loss.add("validation", step, value);
      else if (name === "validation_accuracy") this.accuracy.add("validation", step, value);
      else if (name === "train_accuracy") this.accuracy.add("training", step, value);
    } else if (kind === "full_precision") {
      if (name === "validation_loss") this.loss.add("validation, full precision", step, value);
      else if (name === "validation_accuracy") this.accuracy.add("validation, full precision", step, value);
    } else {
      const cut = name.lastIndexOf("/");
      const [layer, what] = [name.slice(0, cut), name.slice(cut + 1)];
      if (what in BUDGETS) this.budget.add(BUDGETS[what], step, value);
      else ({ telemetry: this.noise, quantization: this.quantisers, search: this.widths })[kind].add(layer, what, step, value);
    }
  }

  /** The mean share of flipped signs over the layers, and the layers between which it lies. */
  averageFlips() {
    const bySteps = new Map();
    for (const figures of this.quantisers.layers.values()) {
      for (const [step, value] of figures.get(LEAST_FLIPPED) ?? []) {
        if (typeof value === "number") bySteps.set(step, [...(bySteps.get(step) ?? []), value]);
      }
    }
    const steps = [...bySteps.keys()].sort((a, b) => a - b);
    const each = (rule) => steps.map((step) => rule(bySteps.get(step)));
    this.flips.set("mean of the layers", steps, each((shares) => shares.reduce((sum, share) => sum + share, 0) / shares.length));
    this.flips.set("most restless layer", steps, each((shares) => Math.max(...shares)));
    this.flips.set("calmest layer", steps, each((shares) => Math.min(...shares)));
  }
}
