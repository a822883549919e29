// Draws points with the processor, pixel by pixel, into an array: a map must also move where there is no graphics
// card, as on a virtual machine. There WebGL takes 0.5 s for 500,000 points and this 0.017 s (benchmarks/pose_map.py).
// Pixels are numbers with red in the lowest byte, as all of today's processors store them.

const CRISP_PX = 1.6; // a smaller point has no soft edge

class Raster {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.stamps = new Map();
  }

  // Begin a picture: a size in pixels, and the ground's colour.
  begin(width, height, ground) {
    if (this.canvas.width !== width || this.canvas.height !== height || !this.image) {
      [this.canvas.width, this.canvas.height] = [width, height];
      this.image = new ImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.stamps.clear();
    }
    this.ground = readColours([ground])[0];
    this.pixels.fill(this.ground);
  }

  end() {
    this.canvas.getContext("2d").putImageData(this.image, 0, 0);
  }

  // Draw the points for which `isDrawn` of their state holds. `view` leads from the unit square to pixels.
  draw(points, { left, top, scale, onSide }, kind, colours, radius, isDrawn) {
    const { width, height } = this.canvas;
    const [u, v] = onSide ? [points.y, points.x] : [points.x, points.y];
    const { codes, states } = points;
    const stamps = SHAPES.map((shape) => this.stamp(shape, radius));
    const stampOf = Uint8Array.from({ length: 256 }, (_, code) => SHAPES.indexOf(shapeOf(kind, code)));
    const half = stamps[0].half;
    const corner = (px, py) => (onSide ? [(py - top) / scale, (px - left) / scale] : [(px - left) / scale, (py - top) / scale]);
    visitCells(points, ...corner(0, 0), ...corner(width, height), (first, last) => {
      for (let i = first; i < last; i++) {
        if (!isDrawn[states[i]]) continue;
        const px = Math.round(left + u[i] * scale);
        const py = Math.round(top + v[i] * scale);
        if (px < half || py < half || px >= width - half || py >= height - half) continue;
        this.put(py * width + px, stamps[stampOf[codes[i]]], colours[codes[i]]);
      }
    });
  }

  put(at, { solid, edge, alphas }, colour) {
    const pixels = this.pixels;
    for (let k = 0; k < solid.length; k++) pixels[at + solid[k]] = colour;
    for (let k = 0; k < edge.length; k++) pixels[at + edge[k]] = mix(pixels[at + edge[k]], colour, alphas[k]);
  }

  // A shape as what it adds to a pixel's place: where it covers all of a pixel, and where a part.
  stamp(shape, radius) {
    const key = `${shape} ${radius.toFixed(2)}`;
    if (!this.stamps.has(key)) {
      const half = Math.ceil(radius * 1.3) + 1;
      const side = 2 * half + 1;
      const context = new OffscreenCanvas(side, side).getContext("2d");
      outlineShape(context, radius < CRISP_PX ? "square" : shape, half + 0.5, half + 0.5, radius);
      context.fill();
      const { data } = context.getImageData(0, 0, side, side);
      const parts = { half, solid: [], edge: [], alphas: [] };
      for (let k = 0; k < side * side; k++) {
        const [alpha, at] = [data[4 * k + 3], (Math.floor(k / side) - half) * this.canvas.width + (k % side) - half];
        if (alpha > 250 || (radius < CRISP_PX && alpha > 100)) parts.solid.push(at);
        else if (alpha > 8 && radius >= CRISP_PX) [parts.edge, parts.alphas].forEach((list, i) => list.push([at, alpha][i]));
      }
      if (!parts.solid.length) parts.solid.push(0);
      this.stamps.set(key, { half, solid: Int32Array.from(parts.solid), edge: Int32Array.from(parts.edge), alphas: Uint8Array.from(parts.alphas) });
    }
    return this.stamps.get(key);
  }
}

// A pixel under another one that covers alpha / 256 of it, a whole number: red and blue are reckoned together.
function mix(under, over, alpha) {
  const [redBlue, green] = [under & 0xff00ff, under & 0x00ff00];
  return (
    (0xff000000 |
      ((redBlue + ((((over & 0xff00ff) - redBlue) * alpha) >> 8)) & 0xff00ff) |
      ((green + ((((over & 0x00ff00) - green) * alpha) >> 8)) & 0x00ff00)) >>>
    0
  );
}

// Colours of CSS as pixels.
function readColours(colours) {
  const context = new OffscreenCanvas(colours.length, 1).getContext("2d", { willReadFrequently: true });
  colours.forEach((colour, i) => {
    context.fillStyle = colour;
    context.fillRect(i, 0, 1, 1);
  });
  return new Uint32Array(context.getImageData(0, 0, colours.length, 1).data.buffer);
}
