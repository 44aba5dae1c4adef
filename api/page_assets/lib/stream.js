// A job's event stream, over any number of connections: each goes on after the last event that came.

import { ask, passes, pause } from "./api.js";

const AGAIN = 1000;

/** Give batches of events from after `seq` on to `take`, until the job has ended or `signal` aborts.
 *  Returns the job's final state, or undefined. */
export async function follow(jobId, seq, signal, take) {
  let last = seq;
  while (!signal.aborted) {
    try {
      const response = await ask(`/v1/jobs/${jobId}/events/stream`, { headers: { "Last-Event-ID": String(last) }, signal });
      for await (const messages of batches(response)) {
        const events = messages.filter((message) => message.name !== "end").map((message) => message.data);
        if (events.length) {
          last = events.at(-1).seq;
          take(events);
        }
        const end = messages.find((message) => message.name === "end");
        if (end) return end.data.state;
      }
    } catch (error) {
      if (signal.aborted || !passes(error)) return undefined;
    }
    try {
      await pause(AGAIN, signal);
    } catch {
      return undefined;
    }
  }
  return undefined;
}

/** The messages of a text/event-stream, as many at a time as came at once. */
async function* batches(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    const messages = blocks.map(parse).filter((message) => message !== null);
    if (messages.length) yield messages;
  }
}

function parse(block) {
  const message = {};
  for (const line of block.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) message[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return message.data === undefined ? null : { name: message.event, data: JSON.parse(message.data) };
}
