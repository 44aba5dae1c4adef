// The points of one curve of a chart.

/** One curve: ascending `xs` with `ys`, which grow. A value that is not finite is a gap. */
export class Curve {
  constructor(name, index) {
    this.name = name;
    this.index = index;
    this.shown = true;
    this.clear();
  }

  clear() {
    this.xs = new Float64Array(1024);
    this.ys = new Float64Array(1024);
    this.length = 0;
    this.smoothed = null;
  }

  /** Add a point, or replace the one at this x: steps are repeated after a crash. */
  add(x, y) {
    const value = y ?? NaN;
    this.smoothed = null;
    if (this.length && x <= this.xs[this.length - 1]) {
      const at = this.indexOf(x);
      if (this.xs[at] === x) this.ys[at] = value;
      return;
    }
    if (this.length === this.xs.length) {
      for (const name of ["xs", "ys"]) {
        const grown = new Float64Array(2 * this.length);
        grown.set(this[name]);
        this[name] = grown;
      }
    }
    this.xs[this.length] = x;
    this.ys[this.length] = value;
    this.length += 1;
  }

  /** The first index whose x is not below this one. */
  indexOf(x) {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.xs[middle] < x) low = middle + 1;
      else high = middle;
    }
    return Math.min(low, Math.max(0, this.length - 1));
  }

  nearest(x) {
    const at = this.indexOf(x);
    return at > 0 && x - this.xs[at - 1] < this.xs[at] - x ? at - 1 : at;
  }

  /** An exponential mean, corrected for its start; `weight` of what was before. */
  smooth(weight) {
    if (!weight) return this.ys;
    if (this.smoothed?.weight === weight) return this.smoothed.values;
    const values = new Float64Array(this.length);
    let sum = 0;
    let norm = 0;
    for (let index = 0; index < this.length; index += 1) {
      const y = this.ys[index];
      if (Number.isFinite(y)) {
        sum = weight * sum + (1 - weight) * y;
        norm = weight * norm + (1 - weight);
      }
      values[index] = Number.isFinite(y) ? sum / norm : NaN;
    }
    this.smoothed = { weight, values };
    return values;
  }
}
