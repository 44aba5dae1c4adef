"use strict";
// The status page: a table of jobs that is asked for every two seconds, and one job's loss and log, which are streamed.
// It talks to the same API as everyone else. The key is kept for this tab only.

const byId = (id) => document.getElementById(id);
const STORED = "fqt.key";
const PERIOD = 2000;
const POINTS = 2000;
const FINAL = new Set(["succeeded", "failed", "cancelled"]);
let chosen = null;
let stream = null;
let losses = [];
let pending = null;

class Refused extends Error {
  constructor(message, key) {
    super(message);
    this.key = key;
  }
}

async function ask(path, options = {}) {
  const key = sessionStorage.getItem(STORED);
  const headers = { Authorization: `Bearer ${key}`, ...options.headers };
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401 || response.status === 403) {
    throw new Refused((await response.json()).detail, key);
  }
  if (!response.ok) {
    throw new Error((await response.json()).detail);
  }
  return response;
}

function cell(row, text, name) {
  const found = row.insertCell();
  found.textContent = text;
  if (name) found.className = name;
  return found;
}

const fixed = (value, digits) => (typeof value === "number" ? value.toFixed(digits) : "");
const percent = (value) => (typeof value === "number" ? `${(100 * value).toFixed(1)} %` : "");

function show(jobs) {
  const body = byId("jobs").tBodies[0];
  body.replaceChildren();
  for (const job of jobs) {
    const progress = job.progress || {};
    const row = body.insertRow();
    row.dataset.job = job.id;
    row.className = job.id === chosen ? "chosen" : "";
    const open = document.createElement("button");
    open.type = "button";
    open.className = "link";
    open.textContent = job.name || job.id;
    open.addEventListener("click", () => choose(job));
    cell(row, "").append(open);
    cell(row, job.spec.method.name);
    cell(row, job.spec.dataset);
    cell(row, job.state, `state ${job.state}`);
    const bar = document.createElement("progress");
    bar.max = progress.total_steps || 1;
    bar.value = progress.step || 0;
    cell(row, "").append(bar);
    cell(row, fixed(progress.loss, 4), "number");
    cell(row, percent(progress.validation_accuracy), "number");
  }
  byId("empty").hidden = jobs.length > 0;
}

function draw() {
  const finite = losses.filter(([, loss]) => Number.isFinite(loss));
  const line = byId("curve").querySelector("polyline");
  if (finite.length < 2) {
    line.setAttribute("points", "");
    byId("caption").textContent = "The loss is drawn from the second step on.";
    return;
  }
  const top = Math.max(...finite.map(([, loss]) => loss));
  const first = finite[0][0];
  const last = finite[finite.length - 1][0];
  const place = ([step, loss]) =>
    `${((600 * (step - first)) / (last - first || 1)).toFixed(1)},${(156 - (152 * loss) / (top || 1)).toFixed(1)}`;
  line.setAttribute("points", finite.map(place).join(" "));
  byId("caption").textContent = `Training loss, steps ${first} to ${last}; highest ${fixed(top, 3)}, last ${fixed(finite[finite.length - 1][1], 4)}`;
}

// Steps come faster than anyone can see: one drawing for all that came within a tenth of a second.
function drawSoon() {
  if (pending === null) {
    pending = setTimeout(() => {
      pending = null;
      draw();
    }, 100);
  }
}

function describe(event) {
  const data = event.data;
  if (event.type === "state") return `${data.from || "new"} → ${data.to}${data.reason ? ` (${data.reason})` : ""}`;
  if (event.type === "metric" && data.kind === "epoch") {
    return `epoch ${data.epoch}: loss ${fixed(data.train_loss, 4)}, validation accuracy ${percent(data.validation_accuracy) || "none"}`;
  }
  if (event.type === "checkpoint") return `checkpoint at step ${data.step}`;
  if (event.type === "artifact") return `file ${data.name}, ${data.size} bytes`;
  if (event.type === "log" || event.type === "warning") return data.message;
  return null;
}

function take(event) {
  if (event.type === "metric" && event.data.kind === "step") {
    losses.push([event.data.step, event.data.loss]);
    if (losses.length > POINTS) losses = losses.filter((_, index) => index % 2 === 1);
  }
  const text = describe(event);
  if (text !== null) {
    const item = document.createElement("li");
    item.className = event.type;
    item.textContent = `${new Date(event.created_at).toLocaleTimeString()}  ${text}`;
    byId("log").append(item);
  }
}

async function* messages(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(
        block.split("\n").filter((line) => !line.startsWith(":")).map((line) => line.split(/: (.*)/s).slice(0, 2)),
      );
      if (fields.data) yield { name: fields.event, id: fields.id, data: JSON.parse(fields.data) };
    }
  }
}

async function follow(id, signal) {
  let after = "0";
  while (!signal.aborted) {
    try {
      const headers = { "Last-Event-ID": after };
      const response = await ask(`/v1/jobs/${id}/events/stream`, { headers, signal });
      for await (const message of messages(response)) {
        if (message.name === "end") return;
        after = message.id;
        take(message.data);
        drawSoon();
      }
    } catch (error) {
      if (signal.aborted || error instanceof Refused) return;
    }
    await new Promise((resolve) => setTimeout(resolve, PERIOD));
  }
}

function choose(job) {
  if (stream) stream.abort();
  stream = new AbortController();
  chosen = job.id;
  losses = [];
  byId("log").replaceChildren();
  byId("title").textContent = job.name || job.id;
  byId("detail").hidden = false;
  draw();
  follow(job.id, stream.signal);
}

function leave(message) {
  if (stream) stream.abort();
  sessionStorage.removeItem(STORED);
  chosen = null;
  byId("detail").hidden = true;
  byId("board").hidden = true;
  byId("forget").hidden = true;
  byId("login").hidden = false;
  byId("refused").textContent = message;
  byId("key").focus();
}

async function refresh() {
  if (!sessionStorage.getItem(STORED)) return;
  try {
    const list = await (await ask("/v1/jobs?limit=50")).json();
    show(list.data);
    byId("login").hidden = true;
    byId("trouble").hidden = true;
    byId("board").hidden = false;
    byId("forget").hidden = false;
    const current = list.data.find((job) => !FINAL.has(job.state)) || list.data[0];
    if (chosen === null && current) choose(current);
  } catch (error) {
    if (error instanceof Refused) {
      // A late answer to a key that was replaced in the meantime says nothing about the present one.
      if (error.key === sessionStorage.getItem(STORED)) leave(error.message);
    } else {
      byId("trouble").textContent = `The service does not answer (${error.message}); trying again.`;
      byId("trouble").hidden = false;
    }
  }
}

async function keepFresh() {
  await refresh();
  setTimeout(keepFresh, PERIOD);
}

byId("login").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(STORED, byId("key").value.trim());
  byId("key").value = "";
  refresh();
});
byId("forget").addEventListener("click", () => leave(""));
if (!sessionStorage.getItem(STORED)) leave("");
keepFresh();
