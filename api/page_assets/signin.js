// Entering a key. It goes to the service once, which answers with a cookie that scripts cannot read.

import { Problem, signIn } from "./lib/api.js";
import { h } from "./lib/dom.js";

export function showSignIn(main, done) {
  const key = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", placeholder: "fqt_…", required: true, "aria-describedby": "refused where" });
  const refused = h("p", { id: "refused", class: "fault", role: "alert" });
  const button = h("button", { class: "primary" }, "Sign in");
  const form = h("form", {}, h("label", { for: "key" }, "API key"), key, refused, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    refused.textContent = "";
    button.disabled = true;
    try {
      await signIn(key.value.trim());
      done();
    } catch (error) {
      refused.textContent = error instanceof Problem ? error.message : "The service does not answer. Is it running?";
      key.focus();
    } finally {
      button.disabled = false;
    }
  });
  main.append(
    h(
      "section",
      { class: "card signin" },
      h("h1", {}, "Sign in"),
      h("p", { class: "dim" }, "Fine-tune image classifiers with 1-bit training, on your own machine."),
      form,
      h(
        "p",
        { class: "hint", id: "where" },
        "It is entered once: this browser then keeps a session of two weeks, not the key. ",
        h("code", {}, "fqt up"),
        " writes the first key to the file ",
        h("code", {}, "key"),
        " in its data folder; ",
        h("code", {}, "fqt keys create"),
        " makes more.",
      ),
    ),
  );
  key.focus();
}
