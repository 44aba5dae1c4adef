// What drawing on canvas needs: sharp pixels, the style sheet's colours, round numbers on axes, sparklines.

/** Give the canvas as many pixels as it covers; null while it covers none. */
export function fit(canvas) {
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width || !height) return null;
  const ratio = window.devicePixelRatio || 1;
  const context = canvas.getContext("2d");
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

export function clear(canvas) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  return context;
}

/** The colours in force for an element. */
export function colours(element) {
  const style = getComputedStyle(element);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: of("ink"),
    dim: of("dim"),
    line: of("line"),
    soft: of("soft"),
    accent: of("accent"),
    series: Array.from({ length: 8 }, (_, index) => of(`series-${index + 1}`)),
  };
}

/** About `wanted` round numbers within the bounds. */
export function linearTicks(low, high, wanted) {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high + step * 1e-9; n += 1) found.push(Number((n * step).toPrecision(12)));
  return found;
}

/** Powers of ten within the bounds; with few of them also their double and fivefold. */
export function logTicks(low, high) {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const factors = last - first > 3 ? [1] : [1, 2, 5];
  const every = Math.ceil((last - first) / 8);
  const found = [];
  for (let power = first; power <= last; power += every) {
    for (const factor of factors) {
      const value = factor * 10 ** power;
      if (value >= low && value <= high) found.push(value);
    }
  }
  return found.length > 1 ? found : linearTicks(low, high, 4).filter((value) => value > 0);
}

/** Draw values as a line without axes. */
export function sparkline(canvas, values) {
  const size = fit(canvas);
  const finite = values.filter((value) => Number.isFinite(value));
  if (!size || finite.length < 2) return;
  const { context, width, height } = size;
  const low = Math.min(...finite);
  const high = Math.max(...finite);
  context.strokeStyle = colours(canvas).accent;
  context.lineWidth = 1.4;
  context.lineJoin = "round";
  context.beginPath();
  finite.forEach((value, index) => {
    const x = 2 + (index / (finite.length - 1)) * (width - 4);
    const y = high === low ? height / 2 : height - 3 - ((value - low) / (high - low)) * (height - 6);
    if (index) context.lineTo(x, y);
    else context.moveTo(x, y);
  });
  context.stroke();
}
