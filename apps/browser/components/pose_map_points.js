// The points of the map canvas: decoding, the nearest point to a place or in a direction, colours and shapes.

const CELLS = 128;
const CELL_BITS = 9; // 16-bit shares of the unit square >> this: the cell
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

const FILTERED = 0; // the states of a point: it does not meet the conditions;
const DIM = 1; // it does, but others are chosen;
const BRIGHT = 2;

// Three arrays one after the other: x and y as 16-bit shares of the unit square, and 8-bit codes. The points are
// sorted by grid cell, so that what is in view lies together, and its pixels too. `places` are their places in what
// Python sent, `indexOf` leads back.
function decode(sent, count) {
  const [across, down] = [new Uint16Array(sent, 0, count), new Uint16Array(sent, 2 * count, count)];
  const sentCodes = new Uint8Array(sent, 4 * count, count);
  const cellOf = (i) => (down[i] >> CELL_BITS) * CELLS + (across[i] >> CELL_BITS);
  const starts = new Uint32Array(CELLS * CELLS + 1);
  for (let i = 0; i < count; i++) starts[cellOf(i) + 1]++;
  for (let cell = 0; cell < CELLS * CELLS; cell++) starts[cell + 1] += starts[cell];
  const next = starts.slice();
  const [x, y, codes] = [new Float32Array(count), new Float32Array(count), new Uint8Array(count)];
  const [places, indexOf] = [new Uint32Array(count), new Uint32Array(count)];
  for (let place = 0; place < count; place++) {
    const i = next[cellOf(place)]++;
    [places[i], indexOf[place]] = [place, i];
    x[i] = across[place] / 65535;
    y[i] = down[place] / 65535;
    codes[i] = sentCodes[place];
  }
  const states = new Uint8Array(count).fill(BRIGHT);
  return { count, x, y, codes, places, indexOf, starts, states, box: bounds(x, y, count) };
}

function bounds(x, y, count) {
  const box = { left: 1, right: 0, top: 1, bottom: 0 };
  for (let i = 0; i < count; i++) {
    if (x[i] < box.left) box.left = x[i];
    if (x[i] > box.right) box.right = x[i];
    if (y[i] < box.top) box.top = y[i];
    if (y[i] > box.bottom) box.bottom = y[i];
  }
  return count ? box : { left: 0, right: 1, top: 0, bottom: 1 };
}

const cellAt = (share) => Math.min(CELLS - 1, Math.max(0, Math.floor((share * 65535) / 2 ** CELL_BITS)));

// Calls `visit` with runs of points, [first, last), that cover a part of the unit square.
function visitCells({ starts }, left, top, right, bottom, visit) {
  const [first, last] = [cellAt(left), cellAt(right)];
  for (let row = cellAt(top); row <= cellAt(bottom); row++) visit(starts[row * CELLS + first], starts[row * CELLS + last + 1]);
}

// The point nearest to a place of those that meet the conditions; -1 if none is within the radius.
function findNearest(points, x, y, radius) {
  let [best, least] = [-1, radius * radius];
  visitCells(points, x - radius, y - radius, x + radius, y + radius, (first, last) => {
    for (let i = first; i < last; i++) {
      const far = (points.x[i] - x) ** 2 + (points.y[i] - y) ** 2;
      if (far <= least && points.states[i] !== FILTERED) [best, least] = [i, far];
    }
  });
  return best;
}

// The nearest point to a place in a direction [dx, dy], of length 1: what lies aside counts twice as far. At least
// `least` away, because the next of a million hands is no step that anybody sees. -1 if there is none.
function findNext(points, x, y, [dx, dy], least) {
  let [best, nearest] = [-1, Infinity];
  for (let i = 0; i < points.count; i++) {
    if (points.states[i] === FILTERED) continue;
    const [ahead, aside] = [(points.x[i] - x) * dx + (points.y[i] - y) * dy, (points.x[i] - x) * dy - (points.y[i] - y) * dx];
    if (ahead < least || ahead < Math.abs(aside)) continue;
    const far = ahead * ahead + 4 * aside * aside;
    if (far < nearest) [best, nearest] = [i, far];
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
  const share = Math.min(code, SHADES - 1) / (SHADES - 1);
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
