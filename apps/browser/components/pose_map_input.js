// The map canvas's input: pointer, wheel, keys and buttons.

const PAN_PX = 60;
const STEP_PX = 5; // an arrow key goes at least so far
const EDGE_PX = 40; // a hand reached by keyboard is not nearer to the edge of the stage

PoseMap.prototype.at = function (event) {
  const box = this.stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

PoseMap.prototype.pointAt = function (px, py) {
  return findNearest(this.points, ...this.unproject(px, py), HIT_RADIUS_PX / this.scale);
};

PoseMap.prototype.listen = function () {
  const face = this.face;
  face.onpointerdown = (event) => this.press(event);
  face.onpointermove = (event) => this.move(event);
  face.onpointerup = (event) => this.release(event);
  face.onpointercancel = (event) => this.endDrag(event);
  face.onpointerleave = (event) => event.pointerType === "mouse" && !this.pointers.size && this.point(-1);
  face.onkeydown = (event) => this.key(event);
  face.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (this.view) this.zoomAt(...this.at(event), Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)));
  }, { passive: false });
  const middle = () => this.size.map((side) => side / 2);
  const actions = {
    zoomIn: () => this.zoomAt(...middle(), 1.6),
    zoomOut: () => this.zoomAt(...middle(), 1 / 1.6),
    reset: () => this.reset(),
    lasso: () => this.setLasso(!this.lasso),
    selectView: () => {
      const [width, height] = this.size;
      this.sendOutline([[0, 0], [width, 0], [width, height], [0, height]].map((corner) => this.unproject(...corner)));
    },
  };
  for (const [name, tool] of Object.entries(this.tools)) tool.onclick = () => this.view && actions[name]();
};

PoseMap.prototype.setLasso = function (lasso) {
  this.lasso = lasso;
  this.stage.classList.toggle("lasso", lasso);
  this.tools.lasso.setAttribute("aria-pressed", String(lasso));
};

PoseMap.prototype.press = function (event) {
  if (event.button || !this.view) return;
  this.face.setPointerCapture(event.pointerId);
  this.pointers.set(event.pointerId, this.at(event));
  this.moved = this.pointers.size > 1;
  this.from = this.at(event);
  this.drawing = null;
  if (this.pointers.size === 1 && (this.lasso || event.shiftKey)) this.drawing = [this.unproject(...this.from)];
};

PoseMap.prototype.move = function (event) {
  if (!this.view) return;
  const [px, py] = this.at(event);
  if (!this.pointers.size) {
    if (!this.lasso || event.pointerType !== "mouse") this.point(this.pointAt(px, py));
    return;
  }
  const before = this.pointers.get(event.pointerId);
  if (!before) return;
  if (Math.hypot(px - this.from[0], py - this.from[1]) > 4) this.moved = true;
  if (!this.moved) return;
  this.point(-1);
  this.stage.classList.add("dragging");
  const others = [...this.pointers].filter(([pointer]) => pointer !== event.pointerId);
  this.pointers.set(event.pointerId, [px, py]);
  if (others.length) {
    const [[, other]] = others;
    const spread = (place) => Math.hypot(place[0] - other[0], place[1] - other[1]) || 1;
    this.pan((px - before[0]) / 2, (py - before[1]) / 2);
    this.zoomAt((px + other[0]) / 2, (py + other[1]) / 2, spread([px, py]) / spread(before));
  } else if (this.drawing) {
    this.drawing.push(this.unproject(px, py));
    this.redraw(false);
  } else {
    this.pan(px - before[0], py - before[1]);
  }
};

PoseMap.prototype.release = function (event) {
  const lasso = this.drawing;
  const isClick = !this.moved && this.pointers.size === 1;
  this.endDrag(event);
  if (lasso && this.moved) {
    this.sendOutline(lasso);
  } else if (isClick) {
    const i = this.pointAt(...this.at(event));
    // A finger cannot hover: the first tap shows a hand, the second searches from it.
    if (i >= 0 && (event.pointerType === "mouse" || i === this.hovered)) this.sendPoint("picked", i);
    else this.point(i);
  }
};

PoseMap.prototype.endDrag = function (event) {
  this.pointers.delete(event.pointerId);
  this.drawing = null;
  this.stage.classList.toggle("dragging", this.pointers.size > 0);
  this.redraw(false);
};

PoseMap.prototype.key = function (event) {
  const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  const tool = { "+": "zoomIn", "=": "zoomIn", "-": "zoomOut", 0: "reset", l: "lasso" }[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey || !this.view) return;
  if (direction && event.shiftKey) this.pan(...direction.map((part) => part * -PAN_PX));
  else if (direction) this.step(direction);
  else if (tool) this.tools[tool].click();
  else if (event.key === "Enter" && this.hovered >= 0) this.sendPoint("picked", this.hovered);
  else if (event.key === "x" && this.hovered >= 0) this.sendPoint("toggled", this.hovered);
  else if (event.key === "Escape") {
    this.drawing = null;
    this.setLasso(false);
    this.point(-1);
  } else return;
  event.preventDefault();
};

// Go to the nearest hand in a direction on the screen, at first to the one nearest to the middle of the view.
PoseMap.prototype.step = function (direction) {
  const { points } = this;
  const [wide, high] = this.size;
  let next = -1;
  if (this.hovered >= 0) {
    const place = [points.x[this.hovered], points.y[this.hovered]];
    next = findNext(points, ...place, this.swapOnSide(...direction), STEP_PX / this.scale);
  } else {
    next = findNearest(points, ...this.unproject(wide / 2, high / 2 + LOWERED_PX), 2);
  }
  if (next < 0) {
    this.said.textContent = "No hand lies further that way";
    return;
  }
  this.point(next, true);
  const [px, py] = this.project(points.x[next], points.y[next]);
  const [inX, inY] = [clamp(px, EDGE_PX, wide - EDGE_PX), clamp(py, 2 * EDGE_PX, high - EDGE_PX)];
  if (inX !== px || inY !== py) this.pan(inX - px, inY - py);
};
