// Contours of how densely the hands lie, of those that meet the conditions.

const GRID = 96; // cells along each side of the unit square
const MARGIN = 7; // cells around it: as far as a blurred density reaches, so that each contour closes
const SIDE = GRID + 2 * MARGIN;
const BLUR = [1, 4, 7, 10, 7, 4, 1]; // over cells, twice in each direction
const LEVELS = [0.06, 0.2, 0.45]; // shares of the greatest density
// A square of four cells, by which of its corners (1 top left, 2 top right, 4 bottom right, 8 bottom left) lie higher than
// the level: the sides that the contour runs between (marching squares; Lorensen and Cline, 1987, in the plane).
const EDGES = { top: [0, 1], right: [1, 2], bottom: [3, 2], left: [0, 3] };
const RUNS = [
  "", "left top", "top right", "left right", "right bottom", "left top right bottom", "top bottom", "left bottom",
  "bottom left", "top bottom", "top right left bottom", "right bottom", "left right", "top right", "left top", "",
];

// [SIDE * SIDE] how many of the points that meet the conditions lie about each cell.
function densityOf({ count, x, y, states }) {
  let density = new Float32Array(SIDE * SIDE);
  const cell = (share) => MARGIN + Math.min(GRID - 1, Math.floor(share * GRID));
  for (let i = 0; i < count; i++) if (states[i] !== FILTERED) density[cell(y[i]) * SIDE + cell(x[i])]++;
  for (const step of [1, SIDE, 1, SIDE]) density = blur(density, step);
  return density;
}

function blur(density, step) {
  const blurred = new Float32Array(density.length);
  const reach = (BLUR.length - 1) / 2;
  for (let cell = 0; cell < density.length; cell++) {
    const along = step === 1 ? cell % SIDE : Math.floor(cell / SIDE);
    for (let k = -reach; k <= reach; k++) {
      if (along + k >= 0 && along + k < SIDE) blurred[cell] += BLUR[k + reach] * density[cell + k * step];
    }
  }
  return blurred;
}

// Of each level the lines [[x, y], [x, y]] of its contour, in units of the square.
function contoursOf(points) {
  const density = densityOf(points);
  const highest = density.reduce((a, b) => Math.max(a, b), 0);
  return LEVELS.map((share) => (highest ? contour(density, share * highest) : []));
}

function contour(density, level) {
  const lines = [];
  for (let row = 0; row < SIDE - 1; row++) {
    for (let column = 0; column < SIDE - 1; column++) {
      const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]];
      const heights = corners.map(([c, r]) => density[r * SIDE + c]);
      const kind = heights.reduce((sum, height, i) => sum + (height > level) * 2 ** i, 0);
      const ends = RUNS[kind].split(" ").filter(Boolean).map((side) => {
        const [a, b] = EDGES[side];
        const share = (level - heights[a]) / (heights[b] - heights[a]);
        const place = [0, 1].map((axis) => corners[a][axis] + share * (corners[b][axis] - corners[a][axis]));
        return place.map((cells) => (cells + 0.5 - MARGIN) / GRID);
      });
      for (let i = 0; i < ends.length; i += 2) lines.push([ends[i], ends[i + 1]]);
    }
  }
  return lines;
}

PoseMap.prototype.drawContours = function (context) {
  this.contours ||= contoursOf(this.points);
  context.strokeStyle = this.ink;
  context.lineWidth = 1.2;
  this.contours.forEach((lines, level) => {
    context.globalAlpha = 0.3 + 0.25 * level;
    context.beginPath();
    for (const [from, to] of lines) {
      context.moveTo(...this.project(...from));
      context.lineTo(...this.project(...to));
    }
    context.stroke();
  });
  context.globalAlpha = 1;
};

// Names of groups of hands, each where most of it lies; one that would lie over an earlier one is left out.
PoseMap.prototype.drawGroups = function (context) {
  const taken = this.marks.map(([x, y, text]) => [...this.project(x, y), text.length * 8 + 20]);
  for (const [x, y, text] of this.links.groups || []) {
    const [px, py] = this.project(x, y);
    const half = text.length * 4 + 6;
    if (taken.some(([tx, ty, other]) => Math.abs(tx - px) < half + other && Math.abs(ty - py) < 20)) continue;
    taken.push([px, py, half]);
    context.textAlign = "center";
    this.drawText(context, px, py, text);
    context.textAlign = "start";
  }
};
