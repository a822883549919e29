// The points of the map canvas: decoding, the nearest point to a place, and their colours and shapes.

const CELLS = 64;
const OTHERS = 254;
const UNKNOWN = 255;
const SHADES = 64;
const HUES = 48;
const SHAPES = ["disc", "square", "triangle", "diamond"];
const CLASS_COLOURS = {
  light: [
    "#0072a3", "#d1495b", "#d18f00", "#2a9d5c", "#7b4fb8", "#00a0a6",
    "#c44f9a", "#7a5c3e", "#4f93d6", "#8f9a14", "#e2682c", "#2b39b8",
  ],
  dark: [
    "#4fb3e8", "#f2808d", "#f2c14e", "#5fd08f", "#b592f2", "#3fd6d0",
    "#ee8ac8", "#cfa984", "#a6cdf5", "#d3dc5c", "#ff9f6b", "#8795ff",
  ],
};
const OTHERS_COLOUR = { light: "#5d6670", dark: "#c3ccd4" };
const UNKNOWN_COLOUR = { light: "#a3acb4", dark: "#66717b" };
// Viridis (van der Walt and Smith, 2015), from its dark end.
const VIRIDIS = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];

// Three arrays one after the other: x and y as 16-bit shares of the unit square, and 8-bit codes.
function decode(text, count) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const x = Float32Array.from(new Uint16Array(bytes.buffer, 0, count), (share) => share / 65535);
  const y = Float32Array.from(new Uint16Array(bytes.buffer, 2 * count, count), (share) => share / 65535);
  return { count, x, y, codes: bytes.subarray(4 * count), cells: sortByCell(x, y, count), box: bounds(x, y, count) };
}

function bounds(x, y, count) {
  const box = { left: 1, right: 0, top: 1, bottom: 0 };
  for (let i = 0; i < count; i++) {
    box.left = Math.min(box.left, x[i]);
    box.right = Math.max(box.right, x[i]);
    box.top = Math.min(box.top, y[i]);
    box.bottom = Math.max(box.bottom, y[i]);
  }
  return count ? box : { left: 0, right: 1, top: 0, bottom: 1 };
}

const cellOf = (share) => Math.min(CELLS - 1, Math.max(0, Math.floor(share * CELLS)));

// The points sorted by grid cell, so that a search for the nearest looks at few of them.
function sortByCell(x, y, count) {
  const starts = new Uint32Array(CELLS * CELLS + 1);
  for (let i = 0; i < count; i++) starts[cellOf(y[i]) * CELLS + cellOf(x[i]) + 1]++;
  for (let cell = 0; cell < CELLS * CELLS; cell++) starts[cell + 1] += starts[cell];
  const next = starts.slice();
  const rows = new Uint32Array(count);
  for (let i = 0; i < count; i++) rows[next[cellOf(y[i]) * CELLS + cellOf(x[i])]++] = i;
  return { starts, rows };
}

// The point nearest to a place; -1 if none is within the radius.
function findNearest(points, x, y, radius, isHighlighted) {
  let [best, least] = [-1, radius * radius];
  for (let row = cellOf(y - radius); row <= cellOf(y + radius); row++) {
    for (let column = cellOf(x - radius); column <= cellOf(x + radius); column++) {
      const cell = row * CELLS + column;
      for (let at = points.cells.starts[cell]; at < points.cells.starts[cell + 1]; at++) {
        const i = points.cells.rows[at];
        const far = (points.x[i] - x) ** 2 + (points.y[i] - y) ** 2;
        if (far <= least && isHighlighted(points.codes[i])) [best, least] = [i, far];
      }
    }
  }
  return best;
}

function viridis(share) {
  const at = Math.min(share, 0.9999) * (VIRIDIS.length - 1);
  const [low, high] = [VIRIDIS[Math.floor(at)], VIRIDIS[Math.floor(at) + 1]];
  const mixed = low.map((part, i) => Math.round(part + (high[i] - part) * (at % 1)));
  return `rgb(${mixed.join(" ")})`;
}

function colourOf(kind, code, theme) {
  if (code === UNKNOWN) return UNKNOWN_COLOUR[theme];
  if (code === OTHERS) return OTHERS_COLOUR[theme];
  if (kind === "classes") return CLASS_COLOURS[theme][code % CLASS_COLOURS[theme].length];
  if (kind === "hues") {
    const lightness = theme === "dark" ? [66, 76] : [38, 52];
    return `hsl(${((code * 7) % HUES) * (360 / HUES)} 62% ${lightness[code % 2]}%)`;
  }
  // The hands that are far from others stand out from the background.
  const share = code / (SHADES - 1);
  return viridis(theme === "dark" ? 0.35 + 0.65 * share : 0.82 * (1 - share));
}

const shapeOf = (kind, code) => (kind === "classes" && code < OTHERS ? SHAPES[code % SHAPES.length] : "disc");

function outlineShape(context, shape, x, y, r) {
  context.beginPath();
  if (shape === "square") context.rect(x - r * 0.9, y - r * 0.9, r * 1.8, r * 1.8);
  else if (shape === "disc") context.arc(x, y, r, 0, 2 * Math.PI);
  else {
    const corners = shape === "diamond"
      ? [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]]
      : [[0, -1.25], [1.15, 0.85], [-1.15, 0.85]];
    corners.forEach(([dx, dy], i) => context[i ? "lineTo" : "moveTo"](x + dx * r, y + dy * r));
    context.closePath();
  }
}

// An image of a point for each code, drawn once and then copied.
function stamps(kind, codes, theme, radius) {
  const stampOf = new Map();
  for (const code of codes) {
    const stamp = document.createElement("canvas");
    stamp.width = stamp.height = Math.ceil(radius * 2.6) + 2;
    const context = stamp.getContext("2d");
    outlineShape(context, shapeOf(kind, code), stamp.width / 2, stamp.width / 2, radius);
    context.fillStyle = colourOf(kind, code, theme);
    context.fill();
    stampOf.set(code, stamp);
  }
  return stampOf;
}
