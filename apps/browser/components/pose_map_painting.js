// How the map is drawn: into a buffer, and over a copy of it what moves with the pointer.

const CROWDS = [[8000, 2], [2500, 2.6], [0, 3.4]]; // from so many points on, their radius in pixels
const DIMMED = 0.16;
const SOLID = 0.82;
const MANY = 2500; // points that cannot be drawn anew for each frame
const STILL_MS = 90;

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

// Of many points the picture there is is moved and stretched, and drawn anew once the map stands still.
PoseMap.prototype.redrawMoved = function () {
  const many = this.points.count > MANY;
  this.redraw(!many);
  clearTimeout(this.resting);
  if (many) this.resting = setTimeout(() => this.redraw(true), STILL_MS);
};

PoseMap.prototype.radius = function () {
  const [, radius] = CROWDS.find(([least]) => this.points.count >= least);
  return Math.min(8, radius * this.view.zoom ** 0.35);
};

PoseMap.prototype.drawBuffer = function (width, height) {
  const dense = window.devicePixelRatio || 1;
  for (const canvas of [this.buffer, this.face]) [canvas.width, canvas.height] = [width * dense, height * dense];
  const context = this.buffer.getContext("2d");
  this.drawnFor = { ...this.view };
  const { count, codes } = this.points;
  const [x, y] = this.sided(this.points.x, this.points.y);
  const stamp = stamps(this.data.kind, new Set(codes), this.theme, this.radius() * dense);
  const [left, top] = this.place(0, 0);
  const scale = this.scale * dense;
  const draw = (shown) => {
    for (let i = 0; i < count; i++) {
      if (this.isShown(codes[i]) !== shown) continue;
      const drawn = stamp.get(codes[i]);
      const px = left * dense + x[i] * scale - drawn.width / 2;
      const py = top * dense + y[i] * scale - drawn.width / 2;
      if (px < -drawn.width || py < -drawn.width || px > this.buffer.width || py > this.buffer.height) continue;
      context.drawImage(drawn, Math.round(px), Math.round(py));
    }
  };
  context.globalAlpha = DIMMED;
  if (this.shown) draw(false);
  context.globalAlpha = this.shown ? 1 : SOLID;
  draw(true);
};

PoseMap.prototype.drawFace = function (width, height) {
  const dense = window.devicePixelRatio || 1;
  const context = this.face.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, this.face.width, this.face.height);
  context.setTransform(dense, 0, 0, dense, 0, 0);
  const stretched = this.view.zoom / this.drawnFor.zoom;
  const [x, y] = this.place(this.drawnFor.x, this.drawnFor.y);
  const [left, top] = [x - (stretched * width) / 2, y - stretched * (height / 2 + LOWERED_PX)];
  context.drawImage(this.buffer, left, top, width * stretched, height * stretched);
  const outline = this.drawing || this.outline;
  if (outline) this.drawOutline(context, outline);
  if (this.data.mark) this.drawMark(context, ...this.place(...this.data.mark.place));
  if (this.hovered >= 0) {
    const [x, y] = this.place(this.points.x[this.hovered], this.points.y[this.hovered]);
    this.drawRing(context, x, y, this.radius() + 3.5, this.ink, 2.5);
    this.putTip(x, y, width, height);
  }
};

PoseMap.prototype.drawOutline = function (context, outline) {
  context.beginPath();
  outline.forEach((corner, i) => context[i ? "lineTo" : "moveTo"](...this.place(...corner)));
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
  context.strokeText(this.data.mark.text, x + 17, y);
  context.fillStyle = this.ink;
  context.fillText(this.data.mark.text, x + 17, y);
};

PoseMap.prototype.drawRing = function (context, x, y, radius, colour, width) {
  for (const [strokeStyle, lineWidth] of [[this.ground, width + 3], [colour, width]]) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    Object.assign(context, { strokeStyle, lineWidth });
    context.stroke();
  }
};
