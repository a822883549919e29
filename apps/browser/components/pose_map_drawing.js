// The map canvas's drawing: the points into a buffer, then a copy of it and over that what follows the pointer.

const RADII = [[1e6, 0.8], [2e5, 1], [5e4, 1.4], [8000, 2], [2500, 2.6], [0, 3.4]]; // [from so many on, pixels]
const DIMMED = 0.2; // how much is left of a colour
const BEHIND_ANSWER = 0.5;
const SMOOTH_MS = 25; // what takes longer to draw is moved as a picture, and drawn again once it rests
const REST_MS = 90;
const MARGIN_PX = 128; // of the buffer around the stage, so that there is something to move in

PoseMap.prototype.redraw = function (all) {
  this.stale ||= all;
  this.frame ||= requestAnimationFrame(() => {
    this.frame = 0;
    const [width, height] = this.size;
    if (!this.points || !width || !height) return;
    if (!this.view) this.view = { x: this.whole.x, y: this.whole.y, zoom: 1 };
    if (this.stale) this.drawBuffer(width, height);
    this.stale = false;
    this.drawFace(width, height);
  });
};

PoseMap.prototype.redrawMoved = function () {
  const isSlow = this.drawMs > SMOOTH_MS;
  this.redraw(!isSlow);
  clearTimeout(this.resting);
  if (isSlow) this.resting = setTimeout(() => this.redraw(true), REST_MS);
};

PoseMap.prototype.radius = function () {
  const [, radius] = RADII.find(([least]) => this.points.count >= least);
  return Math.min(8, radius * this.view.zoom ** 0.35);
};

PoseMap.prototype.drawBuffer = function (width, height) {
  const begin = performance.now();
  const dense = window.devicePixelRatio || 1;
  const { points, raster } = this;
  const sides = [width, height].map((side) => Math.round(side * dense));
  if (this.face.width !== sides[0] || this.face.height !== sides[1]) [this.face.width, this.face.height] = sides;
  this.bufferView = { ...this.view };
  raster.begin(...sides.map((side) => side + 2 * MARGIN_PX * dense).map(Math.round), this.ground);
  const [left, top] = this.project(0, 0).map((side) => (side + MARGIN_PX) * dense);
  const view = { left, top, scale: this.scale * dense, onSide: this.onSide };
  const colours = readColours(Array.from({ length: 256 }, (_, code) => colourOf(this.data.kind, code, this.theme)));
  const faded = (share) => colours.map((colour) => mix(raster.ground, colour, Math.round(share * 256)));
  const radius = this.radius() * dense;
  if (this.isPart) raster.draw(points, view, this.data.kind, faded(DIMMED), radius, [1, 1, 0]);
  raster.draw(points, view, this.data.kind, this.lit.length ? faded(BEHIND_ANSWER) : colours, radius, [0, 0, 1]);
  raster.end();
  this.drawMs = this.stage.dataset.drawMs = performance.now() - begin;
};

PoseMap.prototype.drawFace = function (width, height) {
  const dense = window.devicePixelRatio || 1;
  const context = this.face.getContext("2d");
  context.setTransform(dense, 0, 0, dense, 0, 0);
  context.fillStyle = this.ground;
  context.fillRect(0, 0, width, height);
  const stretch = this.view.zoom / this.bufferView.zoom;
  const [x, y] = this.project(this.bufferView.x, this.bufferView.y);
  const [left, top] = [x - stretch * (MARGIN_PX + width / 2), y - stretch * (MARGIN_PX + height / 2 + LOWERED_PX)];
  const { canvas } = this.raster;
  context.drawImage(canvas, left, top, (canvas.width / dense) * stretch, (canvas.height / dense) * stretch);
  if (this.links.contours) this.drawContours(context);
  const outline = this.drawing || this.outline;
  if (outline) this.drawOutline(context, outline);
  this.drawAnswer(context);
  this.drawGroups(context);
  if (this.hovered >= 0) {
    const [x, y] = this.project(this.points.x[this.hovered], this.points.y[this.hovered]);
    this.drawRing(context, x, y, this.radius() + 3.5, this.ink, 2.5);
    this.placeTip(x, y, width, height);
  }
};

// The hands of the answer, and what was asked about.
PoseMap.prototype.drawAnswer = function (context) {
  const radius = Math.max(2.5, this.radius());
  const { codes, indexOf, count } = this.points;
  for (const [x, y, rank] of this.lit) {
    const code = rank < count ? codes[indexOf[rank]] : UNKNOWN; // of many hands, only a part is drawn
    const place = this.project(x, y);
    outlineShape(context, shapeOf(this.data.kind, code), ...place, radius + 1);
    context.fillStyle = colourOf(this.data.kind, code, this.theme);
    context.fill();
    this.drawRing(context, ...place, radius + 3, this.accent, 1.5);
  }
  for (const [x, y, text] of this.marks) this.drawMark(context, ...this.project(x, y), text);
};

PoseMap.prototype.drawOutline = function (context, outline) {
  context.beginPath();
  outline.forEach((corner, i) => context[i ? "lineTo" : "moveTo"](...this.project(...corner)));
  if (!this.drawing) context.closePath();
  context.strokeStyle = context.fillStyle = this.accent;
  context.lineWidth = 2;
  context.setLineDash([6, 4]);
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 0.1;
  context.fill();
  context.globalAlpha = 1;
};

PoseMap.prototype.drawMark = function (context, x, y, text) {
  this.drawRing(context, x, y, 10, this.accent, 3);
  this.drawText(context, x + 17, y, text);
};

PoseMap.prototype.drawText = function (context, x, y, text) {
  context.font = `600 13px ${this.font}`;
  context.textBaseline = "middle";
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.strokeStyle = this.ground;
  context.strokeText(text, x, y);
  context.fillStyle = this.ink;
  context.fillText(text, x, y);
};

PoseMap.prototype.drawRing = function (context, x, y, radius, colour, width) {
  for (const [strokeStyle, lineWidth] of [[this.ground, width + 3], [colour, width]]) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    Object.assign(context, { strokeStyle, lineWidth });
    context.stroke();
  }
};
