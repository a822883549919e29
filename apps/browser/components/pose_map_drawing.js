// The map canvas's drawing: the points into a buffer, then a copy of it and over that what follows the pointer.

const RADII = [[8000, 2], [2500, 2.6], [0, 3.4]]; // [from this many points on, their radius in pixels]
const DIMMED = 0.16;
const OPAQUE = 0.82;
const MAX_PER_FRAME = 2500; // more points than this cannot be drawn in each frame
const REST_MS = 90;
const MARK_TEXT = "asked about";

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

// With many points, the buffer is moved and scaled while the map moves, and drawn again once it rests.
PoseMap.prototype.redrawMoved = function () {
  const isCrowded = this.points.count > MAX_PER_FRAME;
  this.redraw(!isCrowded);
  clearTimeout(this.resting);
  if (isCrowded) this.resting = setTimeout(() => this.redraw(true), REST_MS);
};

PoseMap.prototype.radius = function () {
  const [, radius] = RADII.find(([least]) => this.points.count >= least);
  return Math.min(8, radius * this.view.zoom ** 0.35);
};

PoseMap.prototype.drawBuffer = function (width, height) {
  const dense = window.devicePixelRatio || 1;
  for (const canvas of [this.buffer, this.face]) [canvas.width, canvas.height] = [width * dense, height * dense];
  const context = this.buffer.getContext("2d");
  this.bufferView = { ...this.view };
  const { count, codes } = this.points;
  const [x, y] = this.swapOnSide(this.points.x, this.points.y);
  const stamp = stamps(this.data.kind, new Set(codes), this.theme, this.radius() * dense);
  const [left, top] = this.project(0, 0);
  const scale = this.scale * dense;
  const draw = (highlighted) => {
    for (let i = 0; i < count; i++) {
      if ((this.isHighlighted(codes[i]) && Boolean(this.isChosen(i))) !== highlighted) continue;
      const image = stamp.get(codes[i]);
      const px = left * dense + x[i] * scale - image.width / 2;
      const py = top * dense + y[i] * scale - image.width / 2;
      if (px < -image.width || py < -image.width || px > this.buffer.width || py > this.buffer.height) continue;
      context.drawImage(image, Math.round(px), Math.round(py));
    }
  };
  context.globalAlpha = DIMMED;
  const isPart = this.highlighted || this.chosen;
  if (isPart) draw(false);
  context.globalAlpha = isPart ? 1 : OPAQUE;
  draw(true);
};

PoseMap.prototype.drawFace = function (width, height) {
  const dense = window.devicePixelRatio || 1;
  const context = this.face.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, this.face.width, this.face.height);
  context.setTransform(dense, 0, 0, dense, 0, 0);
  const stretch = this.view.zoom / this.bufferView.zoom;
  const [x, y] = this.project(this.bufferView.x, this.bufferView.y);
  const [left, top] = [x - (stretch * width) / 2, y - stretch * (height / 2 + LOWERED_PX)];
  context.drawImage(this.buffer, left, top, width * stretch, height * stretch);
  const outline = this.drawing || this.outline;
  if (outline) this.drawOutline(context, outline);
  if (this.data.mark) this.drawMark(context, ...this.project(...this.data.mark));
  if (this.hovered >= 0) {
    const [x, y] = this.project(this.points.x[this.hovered], this.points.y[this.hovered]);
    this.drawRing(context, x, y, this.radius() + 3.5, this.ink, 2.5);
    this.placeTip(x, y, width, height);
  }
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

PoseMap.prototype.drawMark = function (context, x, y) {
  this.drawRing(context, x, y, 10, this.accent, 3);
  context.font = `600 13px ${this.font}`;
  context.textBaseline = "middle";
  context.lineWidth = 4;
  context.strokeStyle = this.ground;
  context.strokeText(MARK_TEXT, x + 17, y);
  context.fillStyle = this.ink;
  context.fillText(MARK_TEXT, x + 17, y);
};

PoseMap.prototype.drawRing = function (context, x, y, radius, colour, width) {
  for (const [strokeStyle, lineWidth] of [[this.ground, width + 3], [colour, width]]) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    Object.assign(context, { strokeStyle, lineWidth });
    context.stroke();
  }
};
