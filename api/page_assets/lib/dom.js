// Making elements. Text becomes text nodes only, so that no name of anything can be markup.

/** Make an element: attributes by name, `on…` as listeners, booleans as properties, children as nodes or text. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (typeof value === "boolean" && !name.startsWith("aria-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let made = 0;

/** An id that no other element has. */
export const freshId = (prefix) => `${prefix}-${++made}`;

/** Call `work` in the next animation frame, once, however often it is asked for before. */
export function onceAFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}

/** Call `work` when `milliseconds` have passed without another call. */
export function debounced(work, milliseconds) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds, ...values);
  };
}

/** Call `work` now and `milliseconds` after each end of it, while the page is seen, until `signal` aborts. */
export async function repeatedly(work, milliseconds, signal) {
  while (!signal.aborted) {
    if (!document.hidden) await work();
    await new Promise((resolve) => setTimeout(resolve, milliseconds));
  }
}

/** Show a short message, which screen readers hear as well. */
export function toast(text, kind = "") {
  const shown = h("p", { class: `toast ${kind}` }, text);
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), 6000);
}

/** Ask before something that cannot be undone; resolves to whether it is wanted. */
export function confirmed(question, explanation, action) {
  const dialog = h(
    "dialog",
    { "aria-labelledby": "confirm-title" },
    h("h2", { id: "confirm-title" }, question),
    h("p", {}, explanation),
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", onclick: () => dialog.close("") }, "No, leave it"),
      h("button", { type: "button", class: "primary", id: "confirm", onclick: () => dialog.close("yes") }, action),
    ),
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
  });
}

/** A button that copies what `text()` gives. */
export function copyButton(label, text) {
  return h(
    "button",
    {
      type: "button",
      class: "small",
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(text());
          toast("Copied.");
        } catch {
          toast("The browser does not let this page copy; select the text instead.", "bad");
        }
      },
    },
    label,
  );
}

/** A badge with a state's name. */
export const stateBadge = (state) => h("span", { class: `state ${state}` }, state);
