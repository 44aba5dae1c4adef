// A job's description as programs write it.

/** JSON as a Python literal. */
export function python(value, indent = 0) {
  const inner = " ".repeat(indent + 4);
  const outer = " ".repeat(indent);
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((part) => python(part, indent)).join(", ")}]`;
  if (typeof value === "object") {
    const rows = Object.entries(value).map(([name, part]) => `${inner}${JSON.stringify(name)}: ${python(part, indent + 4)},\n`);
    return rows.length ? `{\n${rows.join("")}${outer}}` : "{}";
  }
  return JSON.stringify(value);
}

export const asJson = (spec) => JSON.stringify(spec, null, 2);

/** Quotes within the text end the shell's, add one, and go on. */
export const asCurl = (spec) =>
  `curl -X POST ${location.origin}/v1/jobs \\\n  -H "Authorization: Bearer $FQT_API_KEY" \\\n  -H "Content-Type: application/json" \\\n  -d '${asJson(spec).replaceAll("'", "'\\''")}'`;

export const asPython = (spec) => `from fqt_client import Client\n\nclient = Client()\njob = client.jobs.create(${python(spec)})\nprint(job.id)`;
