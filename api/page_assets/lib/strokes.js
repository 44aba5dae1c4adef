// How a line chart is drawn, given a scale: `{ first, last, low, high, isLog, width, height, x(value), y(value), drawable(y) }`.

import { linearTicks, logTicks } from "./canvas.js";

export const LEFT = 58;
export const RIGHT = 12;
export const TOP = 8;
export const BOTTOM = 24;

/** The scale of a view of x from `first` to `last` and of y from `low` to `high`, in an area of pixels. */
export function scaleOf({ first, last, low, high, isLog, width, height }) {
  const place = isLog ? Math.log : (value) => value;
  const span = place(high) - place(low);
  return {
    ...{ first, last, low, high, isLog, width, height },
    x: (x) => LEFT + ((x - first) / (last - first)) * (width - LEFT - RIGHT),
    y: (y) => height - BOTTOM - ((place(y) - place(low)) / span) * (height - TOP - BOTTOM),
    drawable: (y) => Number.isFinite(y) && (!isLog || y > 0),
  };
}

/** Grid lines and the numbers at them. */
export function axes(context, scale, theme, { format, xFormat }) {
  const { width, height } = scale;
  context.font = "11px system-ui, sans-serif";
  context.lineWidth = 1;
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (const value of scale.isLog ? logTicks(scale.low, scale.high) : linearTicks(scale.low, scale.high, 5)) {
    const y = Math.round(scale.y(value)) + 0.5;
    context.strokeStyle = theme.line;
    context.beginPath();
    context.moveTo(LEFT, y);
    context.lineTo(width - RIGHT, y);
    context.stroke();
    context.fillStyle = theme.dim;
    context.fillText(format(value), LEFT - 6, y);
  }
  context.textBaseline = "top";
  context.textAlign = "center";
  const columns = linearTicks(scale.first, scale.last, Math.max(2, Math.floor(width / 110)));
  for (const value of columns) context.fillText(xFormat(value), scale.x(value), height - BOTTOM + 7);
}

/** A curve's part in view, with the context's colour: point by point while there are few, else by columns of pixels. */
export function stroke(context, curve, ys, scale, thickness) {
  const begin = Math.max(0, curve.indexOf(scale.first) - 1);
  const end = Math.min(curve.length, curve.indexOf(scale.last) + 2);
  context.lineWidth = thickness;
  context.lineJoin = "round";
  context.beginPath();
  (end - begin > 3 * scale.width ? columns : points)(context, curve, ys, begin, end, scale);
  context.stroke();
  if (end - begin <= 40 && thickness > 1) dots(context, curve, ys, begin, end, scale);
}

/** A filled dot. */
export function dot(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function points(context, curve, ys, begin, end, scale) {
  let open = false;
  for (let index = begin; index < end; index += 1) {
    const drawable = scale.drawable(ys[index]);
    if (drawable && open) context.lineTo(scale.x(curve.xs[index]), scale.y(ys[index]));
    else if (drawable) context.moveTo(scale.x(curve.xs[index]), scale.y(ys[index]));
    open = drawable;
  }
}

function dots(context, curve, ys, begin, end, scale) {
  context.fillStyle = context.strokeStyle;
  for (let index = begin; index < end; index += 1) {
    if (scale.drawable(ys[index])) dot(context, scale.x(curve.xs[index]), scale.y(ys[index]), 2.2);
  }
}

/** For each column of pixels a stroke from its least to its greatest value, joined with the next column's. */
function columns(context, curve, ys, begin, end, scale) {
  let column = -1;
  let low;
  let high;
  let enter;
  let leave;
  const flush = () => {
    if (column >= 0) for (const value of [enter, low, high, leave]) context.lineTo(column, scale.y(value));
  };
  for (let index = begin; index < end; index += 1) {
    const y = ys[index];
    if (!scale.drawable(y)) continue;
    const x = Math.round(scale.x(curve.xs[index]));
    if (x !== column) {
      flush();
      column = x;
      low = high = enter = y;
    }
    if (y < low) low = y;
    if (y > high) high = y;
    leave = y;
  }
  flush();
}
