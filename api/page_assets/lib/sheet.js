// Pictures that lie side by side on one sheet: rows and columns of squares of equal size.

import { h } from "./dom.js";

const loaded = new Map(); // url -> promise of the image

/** One picture of a sheet, `size` pixels wide on the screen. The browser fetches a sheet once, when one is in sight. */
export function tile(url, { side, columns }, row, column, size) {
  const image = h("img", { src: url, alt: "", loading: "lazy", draggable: "false" });
  image.style.width = `${columns * size}px`;
  image.style.marginLeft = `${-column * size}px`;
  image.style.marginTop = `${-row * size}px`;
  const frame = h("span", { class: side < size ? "frame pixels" : "frame" }, image);
  frame.style.width = frame.style.height = `${size}px`;
  return frame;
}

/** The same picture as a PNG file, pixel for pixel. */
export async function cut(url, { side }, row, column) {
  if (!loaded.has(url)) loaded.set(url, fetch(url).then((answer) => answer.blob()).then((blob) => createImageBitmap(blob)));
  const canvas = h("canvas", { width: side, height: side });
  canvas.getContext("2d").drawImage(await loaded.get(url), column * side, row * side, side, side, 0, 0, side, side);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return new File([blob], "example.png", { type: "image/png" });
}
