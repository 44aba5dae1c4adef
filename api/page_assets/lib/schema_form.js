// A form made from a JSON schema. Its value holds what was changed only: what is left out takes the service's default.
// The service judges the values; its faults are shown at the fields that they name.

import { freshId, h } from "./dom.js";

const titled = (name) => name.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());

/** Prose with `code` set apart. What is null in a spec is a field left empty here. */
export const prose = (text) => (text ?? "").split("`").map((piece, index) => (index % 2 ? h("code", {}, piece) : piece.replace(/(^|\. )null\b/g, "$1Empty").replace(/\bnull\b/g, "empty")));

/** A label, the control, its description and a place for its fault, tied together for screen readers. */
export class Field {
  constructor(path, title, control, description = "", kind = "") {
    this.path = path;
    this.control = control;
    control.id ||= freshId("field");
    this.fault = h("p", { class: "fault", id: `${control.id}-fault`, hidden: true });
    const hint = h("p", { class: "hint", id: `${control.id}-hint` }, prose(description));
    control.setAttribute("aria-describedby", `${hint.id} ${this.fault.id}`);
    control.dataset.path = path;
    const check = control.type === "checkbox";
    const group = control.getAttribute("role") === "group" || control.getAttribute("role") === "radiogroup";
    const label = group ? h("span", { class: "label", id: `${control.id}-label` }, title) : h("label", { for: control.id }, check ? control : "", title);
    if (group) control.setAttribute("aria-labelledby", label.id);
    this.element = h("div", { class: `field ${check ? "check" : ""} ${kind}` }, label, check ? "" : control, hint, this.fault);
  }

  tell(message) {
    this.fault.textContent = message ?? "";
    this.fault.hidden = !message;
    if (message) this.control.setAttribute("aria-invalid", "true");
    else this.control.removeAttribute("aria-invalid");
  }
}

/** What a schema says once references are followed and "or null" is set apart. */
function resolved(schema, definitions) {
  let found = schema;
  let nullable = false;
  for (;;) {
    const choices = found.anyOf ?? found.oneOf;
    if (found.$ref) {
      const { $ref, ...own } = found;
      found = { ...definitions[$ref.split("/").at(-1)], ...own };
    } else if (choices?.some((part) => part.type === "null")) {
      nullable = true;
      const { anyOf, oneOf, ...own } = found;
      found = { ...choices.find((part) => part.type !== "null"), ...own };
    } else {
      return { ...found, nullable };
    }
  }
}

/** One property of a schema as a field; undefined for what leaves no choice. */
function part(name, schema, definitions, prefix) {
  const found = resolved(schema, definitions);
  const path = prefix ? `${prefix}.${name}` : name;
  if (found.const !== undefined) return undefined;
  if (found.enum) return new Choice(name, path, found);
  if (found.type === "boolean") return new Flag(name, path, found);
  if (found.type === "object") return new Nested(name, path, found, definitions);
  if (found.type === "array" && found.items.type === "integer") return new Numbers(name, path, found);
  if (found.type === "array") return new Several(name, path, found, definitions);
  return new Text(name, path, found);
}

class Text {
  constructor(name, path, schema) {
    this.name = name;
    this.isNumber = ["integer", "number"].includes(schema.type);
    this.input = h("input", { type: "text", inputmode: this.isNumber ? "decimal" : null, autocomplete: "off", placeholder: schema.default ?? (schema.nullable ? "default" : "") });
    this.fields = [new Field(path, titled(name), this.input, schema.description)];
    this.element = this.fields[0].element;
  }

  get value() {
    const text = this.input.value.trim();
    if (!text) return undefined;
    const number = Number(text);
    return this.isNumber && !Number.isNaN(number) ? number : text;
  }

  set value(value) {
    this.input.value = value ?? "";
  }
}

/** A list of numbers, with commas between them. */
class Numbers extends Text {
  get value() {
    const parts = this.input.value.split(",").map((text) => text.trim());
    if (parts.every((text) => !text)) return undefined;
    return parts.map((text) => (text && !Number.isNaN(Number(text)) ? Number(text) : text));
  }

  set value(values) {
    this.input.value = (values ?? []).join(", ");
  }
}

class Choice {
  constructor(name, path, schema) {
    this.name = name;
    this.values = schema.nullable ? [null, ...schema.enum] : schema.enum;
    this.default = schema.default ?? (schema.nullable ? null : schema.enum[0]);
    this.select = h("select", {}, this.values.map((value) => h("option", {}, value === null ? "–" : String(value))));
    this.fields = [new Field(path, titled(name), this.select, schema.description)];
    this.element = this.fields[0].element;
    this.value = this.default;
  }

  get value() {
    const value = this.values[this.select.selectedIndex];
    return value === this.default ? undefined : value;
  }

  set value(value) {
    this.select.selectedIndex = Math.max(0, this.values.indexOf(value ?? this.default));
  }
}

class Flag {
  constructor(name, path, schema) {
    this.name = name;
    this.default = schema.default ?? false;
    this.box = h("input", { type: "checkbox" });
    this.fields = [new Field(path, titled(name), this.box, schema.description)];
    this.element = this.fields[0].element;
    this.value = this.default;
  }

  get value() {
    return this.box.checked === this.default ? undefined : this.box.checked;
  }

  set value(value) {
    this.box.checked = value ?? this.default;
  }
}

/** An object of its own. One that may be null is switched on first. */
class Nested {
  constructor(name, path, schema, definitions) {
    this.name = name;
    this.form = new SchemaForm(schema, { definitions, prefix: path });
    this.nullable = schema.nullable;
    this.box = h("input", { type: "checkbox", id: freshId("use"), onchange: () => this.open() });
    this.fields = this.form.fields;
    this.element = h(
      "fieldset",
      { dataset: { path } },
      h("legend", {}, this.nullable ? h("label", { class: "row" }, this.box, titled(name)) : titled(name)),
      h("p", { class: "hint" }, prose(schema.description)),
      this.form.element,
    );
    this.open();
  }

  open() {
    this.form.element.hidden = this.nullable && !this.box.checked;
  }

  get value() {
    if (this.nullable) return this.box.checked ? this.form.value : undefined;
    const value = this.form.value;
    return Object.keys(value).length ? value : undefined;
  }

  set value(value) {
    this.box.checked = Boolean(value);
    this.form.value = value ?? {};
    this.open();
  }
}

/** A list of objects, to be added to and taken from. */
class Several {
  constructor(name, path, schema, definitions) {
    Object.assign(this, { name, path, schema, definitions });
    this.forms = [];
    this.list = h("div", { class: "stack wide" });
    this.element = h(
      "fieldset",
      { dataset: { path } },
      h("legend", {}, titled(name)),
      h("p", { class: "hint" }, prose(schema.description)),
      this.list,
      h("p", {}, h("button", { type: "button", class: "small", onclick: () => this.add({}) }, `Add to ${titled(name).toLowerCase()}`)),
    );
  }

  get fields() {
    return this.forms.flatMap((form) => form.fields);
  }

  add(value) {
    const items = resolved(this.schema.items, this.definitions);
    const form = new SchemaForm(items, { definitions: this.definitions, prefix: `${this.path}.${this.forms.length}` });
    form.value = value;
    const drop = h("button", { type: "button", class: "small danger", onclick: () => this.take(this.forms.filter((one) => one !== form).map((one) => one.value)) }, "Remove");
    this.forms.push(form);
    this.list.append(h("div", { class: "card" }, form.element, drop));
    this.element.dispatchEvent(new Event("change", { bubbles: true }));
  }

  take(values) {
    this.forms = [];
    this.list.replaceChildren();
    values.forEach((value) => this.add(value));
    this.element.dispatchEvent(new Event("change", { bubbles: true }));
  }

  get value() {
    return this.forms.length ? this.forms.map((form) => form.value) : undefined;
  }

  set value(values) {
    this.take(values ?? []);
  }
}

export class SchemaForm {
  /** `first`: names that are shown at once, all others behind `more`; without it everything is shown. `skip`: left out. */
  constructor(schema, { definitions = schema.$defs ?? {}, prefix = "", first, more = "More options", skip = [] } = {}) {
    const names = Object.keys(schema.properties ?? {}).filter((name) => !skip.includes(name));
    const ordered = first ? [...first.filter((name) => names.includes(name)), ...names.filter((name) => !first.includes(name))] : names;
    this.parts = ordered.map((name) => part(name, schema.properties[name], definitions, prefix)).filter(Boolean);
    this.parts.sort((a, b) => (a.element.tagName === "FIELDSET") - (b.element.tagName === "FIELDSET"));
    const shown = this.parts.filter((one) => !first || first.includes(one.name));
    const hidden = this.parts.filter((one) => !shown.includes(one));
    this.element = h("div", { class: "wide" }, h("div", { class: "fields" }, shown.map((one) => one.element)));
    if (hidden.length) this.element.append(h("details", {}, h("summary", {}, more), h("div", { class: "fields" }, hidden.map((one) => one.element))));
  }

  get fields() {
    return this.parts.flatMap((one) => one.fields);
  }

  get value() {
    return Object.fromEntries(this.parts.map((one) => [one.name, one.value]).filter(([, value]) => value !== undefined));
  }

  set value(values) {
    for (const one of this.parts) one.value = values[one.name];
  }
}

/** Show each fault at the field that it names, or at the nearest one around it; give those that no field takes. */
export function showFaults(fields, faults) {
  const told = new Map();
  const left = [];
  for (const { field: path, message } of faults) {
    const parts = path.split(".");
    let found;
    while (parts.length && !found) {
      found = fields.find((field) => field.path === parts.join("."));
      parts.pop();
    }
    if (found) told.set(found, [...(told.get(found) ?? []), found.path === path ? message : `${path}: ${message}`]);
    else left.push({ path, message });
  }
  for (const field of fields) field.tell(told.get(field)?.join("; "));
  for (const field of told.keys()) field.element.closest("details")?.setAttribute("open", "");
  return left;
}
