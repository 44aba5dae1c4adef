// A new job: the form is made from the service's own schemas, and the dry run's plan stands beside it.

import { Problem, all, get, getPatiently, post, randomKey } from "../lib/api.js";
import { debounced, h, toast } from "../lib/dom.js";
import { Field, SchemaForm, prose, showFaults } from "../lib/schema_form.js";
import { PlanPanel } from "../job/plan.js";

const PATIENCE = 350;
const MODELS = 100;
const TRAINING_FIRST = ["epochs", "batch_size", "learning_rate", "binary_learning_rate", "optimizer", "schedule", "seed", "validation_fraction"];
const OF_TREES = ["seed", "validation_fraction", "early_stopping_patience"];
const OWN = ["name", "task", "table", "dataset", "classes", "architecture", "method", "training", "initial_weights", "teacher"];

/** A choice among rows with options of their own: methods, architectures. */
class Variants {
  constructor(name, title, rows, initial) {
    Object.assign(this, { name, rows });
    this.forms = new Map(rows.map((row) => [row.name, new SchemaForm(row.options, { prefix: name })]));
    const group = h("div", { class: "choices", role: "radiogroup" });
    this.radios = rows.map((row) => h("input", { type: "radio", name, value: row.name, checked: row === (rows.find((one) => one.name === initial) ?? rows[0]), onchange: () => this.open() }));
    group.append(...rows.map((row, index) => h("label", { class: "choice" }, this.radios[index], h("span", {}, h("strong", {}, row.title), h("small", {}, prose(row.summary), row.arithmetic ? ` Arithmetic: ${row.arithmetic}.` : "")))));
    this.field = new Field(`${name}.name`, title, group, "", "wide");
    this.options = h("div");
    this.element = h("fieldset", {}, h("legend", {}, title), this.field.element, this.options);
    this.field.element.querySelector(".label").classList.add("unseen");
    this.open();
  }

  get chosen() {
    return this.radios.find((radio) => radio.checked)?.value;
  }

  get form() {
    return this.forms.get(this.chosen);
  }

  /** Offer these rows only; if another one was chosen, the first of them is now. */
  offer(wanted, first) {
    this.rows.forEach((row, index) => (this.radios[index].closest("label").hidden = !wanted(row)));
    if (wanted(this.rows.find((row) => row.name === this.chosen))) return;
    const next = this.rows.find((row) => wanted(row) && row.name === first) ?? this.rows.find(wanted);
    for (const radio of this.radios) radio.checked = radio.value === next.name;
    this.open();
  }

  get fields() {
    return [this.field, ...(this.form?.fields ?? [])];
  }

  open() {
    this.options.replaceChildren(this.form.element);
  }

  get value() {
    return { name: this.chosen, ...this.form.value };
  }

  set value(value) {
    for (const radio of this.radios) radio.checked = radio.value === value.name;
    this.open();
    this.form.value = value;
  }
}

/** Which classes of the data set are trained on; all unless some are left out. */
class Classes {
  constructor() {
    this.group = h("div", { class: "chips", role: "group" });
    this.field = new Field("classes", "Classes", this.group, "Leave some out to train on the others only.", "wide");
    this.boxes = [];
  }

  show(names) {
    this.boxes = names.map((name) => h("input", { type: "checkbox", checked: true, value: name }));
    this.group.replaceChildren(...this.boxes.map((box) => h("label", {}, box, box.value)));
  }

  get value() {
    const chosen = this.boxes.filter((box) => box.checked).map((box) => box.value);
    return chosen.length === this.boxes.length ? undefined : chosen;
  }

  set value(names) {
    for (const box of this.boxes) box.checked = !names || names.includes(box.value);
  }
}

class NewJob {
  constructor(parts, signal) {
    Object.assign(this, parts, { signal });
    const { schemas } = this.openapi.components;
    const spec = schemas.JobSpec.properties;
    this.name = h("input", { type: "text", autocomplete: "off", maxlength: "200" });
    this.dataset = h("select", {}, this.datasets.map((row) => h("option", { value: row.id }, row.builtin ? `${row.id} (built in)` : row.name)));
    this.target = h("select", {});
    this.classes = new Classes();
    this.weights = this.models();
    this.teacher = this.models();
    this.architecture = new Variants("architecture", "Network", this.architectures, "resnet18");
    this.method = new Variants("method", "Method", this.methods, "fqt");
    this.training = new SchemaForm(schemas.TrainConfig, { definitions: schemas, prefix: "training", first: TRAINING_FIRST, more: "More training options" });
    this.running = new SchemaForm(schemas.JobSpec, { definitions: schemas, first: [], more: "Structure search, queue, priority, limits, device, checkpoints", skip: OWN });
    this.own = [
      new Field("name", "Name", this.name, spec.name.description),
      new Field("dataset", "Data set", this.dataset, "What to train on."),
      new Field("table.target", "Target", this.target, "The column to predict from the others."),
      this.classes.field,
      new Field("initial_weights", "Start from", this.weights, spec.initial_weights.description),
      new Field("teacher", "Teacher", this.teacher, spec.teacher.description),
    ];
    this.general = h("div", { id: "faults", role: "alert" });
    this.submit = h("button", { class: "primary", id: "submit" }, "Start training");
    this.plan = new PlanPanel();
    this.build();
  }

  models() {
    return h("select", {}, h("option", { value: "" }, "–"), this.succeeded.filter((job) => job.spec.architecture).map((job) => h("option", { value: job.id }, `${job.name || job.id} (${job.spec.method.name}, ${job.spec.architecture.name})`)));
  }

  build() {
    const [name, dataset, target, classes, weights, teacher] = this.own.map((field) => field.element);
    Object.assign(this, { ofTables: [target], ofImages: [classes, weights, teacher, this.architecture.element] });
    const fieldset = (title, ...children) => h("fieldset", {}, h("legend", {}, title), h("div", { class: "fields" }, children));
    this.form = h(
      "form",
      { class: "stack", novalidate: "" },
      fieldset("Task", name, dataset, target, classes, weights, teacher),
      this.method.element,
      this.architecture.element,
      fieldset("Training", this.training.element),
      fieldset("Running", this.running.element),
      this.general,
      h("div", { class: "row" }, this.submit),
    );
    this.element = h("div", {}, h("div", { class: "row between" }, h("h1", {}, "New job")), h("div", { class: "split" }, this.form, h("aside", { "aria-label": "Plan" }, this.plan.element)));
    const soon = debounced(() => this.dryRun(), PATIENCE);
    for (const kind of ["input", "change"]) {
      this.form.addEventListener(kind, (event) => {
        if (event.target === this.dataset) this.chooseDataset();
        this.plan.busy = true;
        soon();
      });
    }
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
  }

  get fields() {
    return [...this.own, ...this.method.fields, ...this.architecture.fields, ...this.training.fields, ...this.running.fields];
  }

  /** The classes are the data set's; the network takes as many channels as its images have. */
  chooseDataset() {
    const row = this.datasets.find((one) => one.id === this.dataset.value);
    this.classes.show((row?.profile?.classes ?? []).map((one) => one.name));
    const { table } = row?.profile ?? {};
    const columns = (table?.columns ?? []).filter((column) => column.kind !== "skipped");
    this.target.replaceChildren(...columns.map((column) => h("option", { value: column.name }, column.name)));
    this.target.selectedIndex = columns.length - 1; // where most tables have it
    this.table = {};
    for (const element of this.ofTables) element.hidden = !table;
    for (const element of this.ofImages) element.hidden = Boolean(table);
    for (const one of this.training.parts) one.element.hidden = Boolean(table) && !OF_TREES.includes(one.name);
    this.method.offer((one) => one.task === (table ? "tabular" : "images"), "fqt");
    this.tabular = Boolean(table);
    for (const form of this.architecture.forms.values()) {
      const channels = form.parts.find((part) => part.name === "channels");
      if (channels && row?.profile?.channels) channels.value = row.profile.channels;
    }
  }

  /** Begin with the weights of a job or a model. */
  startFrom(id) {
    if (![...this.weights.options].some((option) => option.value === id)) this.weights.append(h("option", { value: id }, id));
    this.weights.value = id;
  }

  get spec() {
    const found = this.tabular ? this.specOfTrees : this.specOfImages;
    return Object.fromEntries(Object.entries({ name: this.name.value.trim() || undefined, dataset: this.dataset.value, ...found, method: this.method.value, ...this.running.value }).filter(([, value]) => value !== undefined));
  }

  get specOfTrees() {
    const training = Object.fromEntries(Object.entries(this.training.value).filter(([name]) => OF_TREES.includes(name)));
    return { task: "tabular", table: { ...this.table, target: this.target.value }, training };
  }

  get specOfImages() {
    return {
      classes: this.classes.value,
      architecture: this.architecture.value,
      training: this.training.value,
      initial_weights: this.weights.value || undefined,
      teacher: this.teacher.value || undefined,
    };
  }

  /** Take data and network of another job. */
  fit(spec) {
    if (this.datasets.some((row) => row.id === spec.dataset)) this.dataset.value = spec.dataset;
    this.chooseDataset();
    this.classes.value = spec.classes;
    if (spec.architecture) this.architecture.value = spec.architecture;
  }

  set spec(spec) {
    this.name.value = spec.name ?? "";
    this.fit(spec);
    if (spec.table) {
      this.table = spec.table;
      this.target.value = spec.table.target;
    }
    this.method.value = spec.method;
    this.training.value = spec.training;
    this.running.value = spec;
    this.startFrom(spec.initial_weights ?? "");
    this.teacher.value = spec.teacher ?? "";
  }

  /** Ask what it would take; only the answer to the newest question counts. */
  async dryRun() {
    this.asked?.abort();
    this.asked = new AbortController();
    const { signal } = this.asked;
    try {
      const plan = await post("/v1/jobs?dry_run=true", this.spec, { signal });
      this.tell([]);
      this.plan.show(plan);
    } catch (error) {
      if (signal.aborted || this.signal.aborted) return;
      if (error instanceof Problem) this.tell(error.errors.length ? error.errors : [{ field: "", message: error.message }]);
      this.plan.refuse(error.errors?.length || 1);
    }
    this.plan.busy = false;
  }

  tell(faults) {
    const left = showFaults(this.fields, faults);
    this.general.replaceChildren(left.length ? h("div", { class: "notice bad" }, h("ul", {}, left.map(({ path, message }) => h("li", {}, path ? h("code", {}, path) : "", ` ${message}`)))) : "");
  }

  /** The same form sent twice, for the answer was lost, makes one job. */
  async send() {
    const spec = this.spec;
    const text = JSON.stringify(spec);
    if (this.sent?.text !== text) this.sent = { text, key: randomKey() };
    this.submit.disabled = true;
    try {
      const job = await post("/v1/jobs", spec, { headers: { "Idempotency-Key": this.sent.key } });
      toast("The job is queued.");
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      if (error instanceof Problem) this.tell(error.errors.length ? error.errors : [{ field: "", message: error.message }]);
      else this.tell([{ field: "", message: "The service does not answer; send it again." }]);
      this.form.querySelector("[aria-invalid=true]")?.focus();
    } finally {
      this.submit.disabled = false;
    }
  }
}

export default {
  path: "/new",
  title: "New job",
  order: 2,
  async show(main, { query, signal }) {
    main.append(h("h1", {}, "New job"), h("p", { class: "dim" }, "Asking what can be trained …"));
    try {
      const [methods, architectures, openapi, datasets, succeeded] = await Promise.all([
        getPatiently("/v1/methods", { signal }),
        getPatiently("/v1/architectures", { signal }),
        getPatiently("/openapi.json", { signal }),
        all("/v1/datasets", {}, { signal }),
        all("/v1/jobs", { state: "succeeded" }, { most: MODELS, signal }),
      ]);
      const ready = datasets.filter((row) => row.state === "ready");
      const view = new NewJob({ methods: methods.data.filter(({ task }) => task !== "expand"), architectures: architectures.data, openapi, datasets: ready, succeeded }, signal);
      if (query.get("dataset")) view.dataset.value = query.get("dataset");
      view.chooseDataset();
      const origin = succeeded.find((job) => job.id === query.get("weights"));
      if (origin) view.fit(origin.spec); // another network would not take its weights
      if (query.get("weights")) view.startFrom(query.get("weights"));
      const job = async (id) => get(`/v1/jobs/${encodeURIComponent(id)}`, { signal });
      if (query.get("from")) view.spec = (await job(query.get("from"))).spec;
      if (query.get("structure")) {
        const { spec, record } = await job(query.get("structure"));
        view.spec = { ...spec, name: null, search: null, architecture: record.structure.architecture };
      }
      main.replaceChildren(view.element);
      await view.dryRun();
    } catch (error) {
      if (!signal.aborted) main.replaceChildren(h("h1", {}, "New job"), h("p", { class: "notice bad" }, error.message));
    }
  },
};
