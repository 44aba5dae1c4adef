// A zip of files without compression: photos are compressed already, and the browser need not hold them in memory.

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});
const UTF8_NAMES = 0x0800;
const VERSION = 20;
const LONGEST = 0xffffffff;
const MOST = 0xffff;
const FIRST_DAY = 0x21; // 1980-01-01: the same files make the same bytes, which the service keeps once

function crc32(bytes) {
  let value = -1;
  for (let index = 0; index < bytes.length; index += 1) value = TABLE[(value ^ bytes[index]) & 255] ^ (value >>> 8);
  return (value ^ -1) >>> 0;
}

/** Little-endian numbers, given as [size in bytes, value]. */
function record(...numbers) {
  const view = new DataView(new ArrayBuffer(numbers.reduce((sum, [size]) => sum + size, 0)));
  let at = 0;
  for (const [size, value] of numbers) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return view;
}

/** Make a zip of `[{path, file}]`. `tell(share)` hears how far it is. Throws RangeError for more than a plain zip holds. */
export async function zip(entries, tell = () => {}) {
  const total = entries.reduce((sum, { file }) => sum + file.size, 0);
  if (entries.length > MOST || total + 200 * entries.length > LONGEST) {
    throw new RangeError("The folder is too large for the browser to pack (65,535 files or 4 GB): use fqt datasets add.");
  }
  const encoder = new TextEncoder();
  const parts = [];
  const directory = [];
  let offset = 0;
  let done = 0;
  for (const { path, file } of entries) {
    const name = encoder.encode(path);
    const sum = crc32(new Uint8Array(await file.arrayBuffer()));
    const common = [[2, UTF8_NAMES], [2, 0], [2, 0], [2, FIRST_DAY], [4, sum], [4, file.size], [4, file.size], [2, name.length], [2, 0]];
    parts.push(record([4, 0x04034b50], [2, VERSION], ...common), name, file);
    directory.push(record([4, 0x02014b50], [2, VERSION], [2, VERSION], ...common, [2, 0], [2, 0], [2, 0], [4, 0], [4, offset]), name);
    offset += 30 + name.length + file.size;
    done += file.size;
    tell(total ? done / total : 1);
  }
  const size = directory.reduce((sum, part) => sum + part.byteLength, 0);
  const end = record([4, 0x06054b50], [2, 0], [2, 0], [2, entries.length], [2, entries.length], [4, size], [4, offset], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
