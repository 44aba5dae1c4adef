// Uploading with progress: a file as it is, a folder packed first.

import { problemOf, randomKey, sessionHeaders } from "./api.js";
import { zip } from "./zip.js";

/** Every file below what was dropped, as `[{path, file}]`; paths begin with the dropped folder's name. */
export async function dropped(transfer) {
  const roots = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!roots.length) return [...transfer.files].map((file) => ({ path: file.name, file }));
  const found = [];
  for (const root of roots) await gather(root, found);
  return found;
}

async function gather(entry, found) {
  if (entry.name.startsWith(".")) return;
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.push({ path: entry.fullPath.slice(1), file });
    return;
  }
  const reader = entry.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
    if (!some.length) return;
    for (const one of some) await gather(one, found);
  }
}

/** The one file to send for what was chosen: itself if it is one, else a zip of the folder. */
export async function packed(entries, tell) {
  if (entries.length === 1 && !entries[0].path.includes("/")) return entries[0].file;
  const blob = await zip(entries, tell);
  return new File([blob], `${entries[0].path.split("/")[0]}.zip`, { type: blob.type });
}

/** Send a file; resolves to what was made. `tell(share)` hears how far it is. Throws Problem as the service tells it. */
export function upload(path, file, name, tell, signal) {
  const request = new XMLHttpRequest(); // fetch tells no progress of what is sent
  const form = new FormData();
  if (name) form.append("name", name);
  form.append("file", file, file.name);
  request.open("POST", path);
  for (const [header, value] of Object.entries({ ...sessionHeaders(), "Idempotency-Key": randomKey() })) request.setRequestHeader(header, value);
  request.upload.addEventListener("progress", (event) => event.lengthComputable && tell(event.loaded / event.total));
  signal.addEventListener("abort", () => request.abort());
  return new Promise((resolve, reject) => {
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(JSON.parse(request.responseText));
      else reject(problemOf(request.status, request.responseText));
    });
    request.addEventListener("error", () => reject(new TypeError("The connection broke off before the file was there. Send it again.")));
    request.addEventListener("abort", () => reject(new DOMException("left", "AbortError")));
    request.send(form);
  });
}
