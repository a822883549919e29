// Contours of how densely the hands lie, of those that meet the conditions.

const GRID = 96; // cells along each side of the unit square
const BLUR = [1, 4, 7, 10, 7, 4, 1]; // over cells, twice in each direction
const LEVELS = [0.06, 0.2, 0.45]; // shares of the greatest density
// A square of four cells, by which of its corners (1 top left, 2 top right, 4 bottom right, 8 bottom left) lie higher than
// the level: the sides that the contour runs between (marching squares; Lorensen and Cline, 1987, in the plane).
const SIDES = { top: [0, 1], right: [1, 2], bottom: [3, 2], left: [0, 3] };
const RUNS = [
  "", "left top", "top right", "left right", "right bottom", "left top right bottom", "top bottom", "left bottom",
  "bottom left", "top bottom", "top right left bottom", "right bottom", "left right", "top right", "left top", "",
];

// [GRID * GRID] how many of the points that meet the conditions lie about each cell.
function densityOf({ count, x, y, states }) {
  let density = new Float32Array(GRID * GRID);
  const cell = (share) => Math.min(GRID - 1, Math.floor(share * GRID));
  for (let i = 0; i < count; i++) if (states[i] !== FILTERED) density[cell(y[i]) * GRID + cell(x[i])]++;
  for (const step of [1, GRID, 1, GRID]) density = blur(density, step);
  return density;
}

function blur(density, step) {
  const blurred = new Float32Array(density.length);
  const reach = (BLUR.length - 1) / 2;
  for (let cell = 0; cell < density.length; cell++) {
    const along = step === 1 ? cell % GRID : Math.floor(cell / GRID);
    for (let k = -reach; k <= reach; k++) {
      if (along + k >= 0 && along + k < GRID) blurred[cell] += BLUR[k + reach] * density[cell + k * step];
    }
  }
  return blurred;
}

// Of each level the lines [[x, y], [x, y]] of its contour, in the unit square.
function contoursOf(points) {
  const density = densityOf(points);
  const highest = density.reduce((a, b) => Math.max(a, b), 0);
  return LEVELS.map((share) => (highest ? contour(density, share * highest) : []));
}

function contour(density, level) {
  const lines = [];
  for (let row = 0; row < GRID - 1; row++) {
    for (let column = 0; column < GRID - 1; column++) {
      const corners = [[column, row], [column + 1, row], [column + 1, row + 1], [column, row + 1]];
      const heights = corners.map(([c, r]) => density[r * GRID + c]);
      const kind = heights.reduce((sum, height, i) => sum + (height > level) * 2 ** i, 0);
      const ends = RUNS[kind].split(" ").filter(Boolean).map((side) => {
        const [a, b] = SIDES[side];
        const share = (level - heights[a]) / (heights[b] - heights[a]);
        return [0, 1].map((axis) => (corners[a][axis] + share * (corners[b][axis] - corners[a][axis]) + 0.5) / GRID);
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
