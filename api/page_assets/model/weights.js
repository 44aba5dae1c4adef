// Drawing weights: kernel by kernel, or the plane of bits at each place of the kernel.

const GAP = 1;

/** The weights of an answer as numbers, row-major; signs as +1 and -1. */
export function decoded({ bits, data, shape, count }) {
  const raw = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  if (bits === 32) return new Float32Array(raw.buffer);
  const length = count * shape.slice(1).reduce((a, b) => a * b, 1);
  return Float32Array.from({ length }, (_, index) => (((raw[index >> 3] >> (index & 7)) & 1) ? 1 : -1));
}

function rgb(text) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d");
  context.fillStyle = text;
  context.fillRect(0, 0, 1, 1);
  return context.getImageData(0, 0, 1, 1).data;
}

/** Give the canvas a picture of `width` x `height` cells, each as large as fits, coloured by `colour(x, y)`. */
function paintCells(canvas, width, height, room, colour, largest = 24) {
  const scale = Math.max(1, Math.min(largest, Math.floor(room / width)));
  const picture = new ImageData(width, height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const found = colour(x, y);
      if (found) picture.data.set([found[0], found[1], found[2], 255], 4 * (y * width + x));
    }
  }
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").putImageData(picture, 0, 0);
  canvas.style.width = `${width * scale}px`;
  canvas.style.height = `${height * scale}px`;
  return scale;
}

/** Blue for positive, orange for negative, the card's colour for nothing. */
function diverging(paint, most) {
  const [plus, minus, zero] = [paint.series[0], paint.series[1], paint.card].map(rgb);
  return (value) => {
    const share = Math.min(1, Math.abs(value) / most);
    const end = value > 0 ? plus : minus;
    return [0, 1, 2].map((part) => zero[part] + share * (end[part] - zero[part]));
  };
}

const greatest = (values) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);

/** Every kernel for itself. A layer that sees an image: one picture per filter; any other: a row per filter with a
 *  kernel per input channel. Gives where each weight is drawn. */
export function kernels(canvas, { shape, values, bits, count }, paint) {
  const [, channels, height = 1, width = 1] = shape;
  const area = height * width;
  const colour = channels === 3 && bits === 32 && area > 1;
  const gap = area > 1 ? GAP : 0;
  const few = channels <= 3 && area > 1;
  const columns = few ? columnsFor(count * (colour ? 1 : channels), width + gap, paint.width) : channels;
  const tiles = colour ? count : count * channels;
  const rows = Math.ceil(tiles / columns);
  const most = greatest(values);
  const mixed = bits === 1 ? diverging(paint, 1) : diverging(paint, most);
  const place = (x, y) => {
    const [column, row] = [Math.floor(x / (width + gap)), Math.floor(y / (height + gap))];
    const [inX, inY] = [x - column * (width + gap), y - row * (height + gap)];
    const index = row * columns + column;
    if (inX >= width || inY >= height || column >= columns || index >= tiles) return null;
    return colour ? [index, 0, inY * width + inX] : [Math.floor(index / channels), index % channels, inY * width + inX];
  };
  const weight = (out, channel, at) => values[(out * channels + channel) * area + at];
  const of = (x, y) => {
    const found = place(x, y);
    if (!found) return null;
    const [out, channel, at] = found;
    return colour ? [0, 1, 2].map((part) => 127.5 + (127.5 * weight(out, part, at)) / most) : mixed(weight(out, channel, at));
  };
  const scale = paintCells(canvas, columns * (width + gap), rows * (height + gap), paint.width, of, few ? 16 : 12);
  const told = few ? "" : area > 1 ? "a row per filter, a kernel per input channel" : "a row per filter, a column per input";
  return { colour, told, at: (x, y) => place(Math.floor(x / scale), Math.floor(y / scale)) };
}

/** About as many columns as make the pictures fill the width at a good size. */
function columnsFor(tiles, size, room) {
  const wanted = Math.max(1, Math.floor(room / (size * 12)));
  return Math.min(tiles, wanted);
}

/** The plane of bits at each place of the kernel: rows are filters, columns input channels. Planes lie in one row if
 *  they fit, else as the places lie in the kernel. */
export function planes(canvas, { shape, values, count }, paint) {
  const [, channels, height, width] = shape;
  const area = height * width;
  const gap = 4;
  const abreast = 2 * area * (channels + gap) <= paint.width ? area : width;
  const rows = area / abreast;
  const place = (x, y) => {
    const [column, row] = [Math.floor(x / (channels + gap)), Math.floor(y / (count + gap))];
    const [channel, out] = [x - column * (channels + gap), y - row * (count + gap)];
    if (channel >= channels || out >= count || column >= abreast || row >= rows) return null;
    return [out, channel, row * abreast + column];
  };
  const mixed = diverging(paint, 1);
  const of = (x, y) => {
    const found = place(x, y);
    return found && mixed(values[(found[0] * channels + found[1]) * area + found[2]]);
  };
  const scale = paintCells(canvas, abreast * (channels + gap) - gap, rows * (count + gap) - gap, paint.width, of, 6);
  return { colour: false, told: `a plane for each of the ${height} x ${width} places of the kernel, row by row: rows are filters, columns input channels`, at: (x, y) => place(Math.floor(x / scale), Math.floor(y / scale)) };
}
