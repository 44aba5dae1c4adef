// The frame: who is signed in, which view is shown, light or dark.

import views from "/page/views.js";
import { findSession, link, session, signOut } from "./lib/api.js";
import { h } from "./lib/dom.js";
import { showSignIn } from "./signin.js";

const byId = (id) => document.getElementById(id);
const THEME = "fqt.theme";
const START = "#/jobs";
let leaving = new AbortController();

// Requests of a view that was left end so. Nobody waits for them any more, and it is no fault to be told of.
addEventListener("unhandledrejection", (event) => {
  if (event.reason?.name === "AbortError") event.preventDefault();
});

/** The view of an address `#/jobs/job_1?x=y`, with what its path and query say; undefined if none has it. */
function find(hash) {
  const [path, search] = hash.slice(1).split("?");
  const parts = path.split("/");
  for (const view of views) {
    const wanted = view.path.split("/");
    if (wanted.length !== parts.length) continue;
    const params = {};
    const fits = wanted.every((part, index) => {
      if (!part.startsWith(":")) return part === parts[index];
      params[part.slice(1)] = decodeURIComponent(parts[index]);
      return parts[index] !== "";
    });
    if (fits) return { view, params, query: new URLSearchParams(search) };
  }
  return undefined;
}

function showNav(current) {
  const entries = views.filter((view) => view.order !== undefined).sort((a, b) => a.order - b.order);
  byId("nav").replaceChildren(
    ...entries.map((view) =>
      h("a", { href: `#${view.path}`, "aria-current": current === view || view.path === current?.under ? "page" : null }, view.title),
    ),
  );
}

function show() {
  leaving.abort();
  leaving = new AbortController();
  const main = byId("main");
  main.replaceChildren();
  byId("nav").hidden = byId("leave").hidden = !session.active;
  if (!session.active) {
    document.title = "Sign in · fqt";
    showSignIn(main, show);
    return;
  }
  if (!find(location.hash)) history.replaceState(null, "", START);
  const { view, params, query } = find(location.hash);
  document.title = `${view.title} · fqt`;
  showNav(view);
  view.show(main, { params, query, signal: leaving.signal });
  const heading = main.querySelector("h1");
  if (heading) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  scrollTo(0, 0);
}

function setTheme(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  byId("theme").textContent = { auto: "◐ Auto", light: "☀ Light", dark: "☾ Dark" }[theme];
  byId("theme").setAttribute("aria-label", `Colours: ${theme}. Change`);
  localStorage.setItem(THEME, theme);
  document.dispatchEvent(new Event("themechange"));
}

byId("theme").addEventListener("click", () => {
  const themes = ["auto", "light", "dark"];
  setTheme(themes[(themes.indexOf(localStorage.getItem(THEME)) + 1) % themes.length]);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("themechange")));
byId("leave").addEventListener("click", () => signOut());
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
addEventListener("hashchange", show);
link.addEventListener("ended", show);
link.addEventListener("down", () => {
  byId("trouble").textContent = "The service does not answer. Trying again …";
  byId("trouble").hidden = false;
});
link.addEventListener("up", () => (byId("trouble").hidden = true));

setTheme(localStorage.getItem(THEME) ?? "auto");
await findSession();
show();
