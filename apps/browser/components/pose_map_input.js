// The map canvas's input: pointer, wheel, keys, buttons and the legend.

PoseMap.prototype.at = function (event) {
  const box = this.stage.getBoundingClientRect();
  return [event.clientX - box.left, event.clientY - box.top];
};

PoseMap.prototype.rowAt = function (px, py) {
  const radius = HIT_RADIUS_PX / this.scale;
  return findNearest(this.points, ...this.unproject(px, py), radius, this.isHighlighted);
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
    if (!this.lasso || event.pointerType !== "mouse") this.point(this.rowAt(px, py));
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
    const row = this.rowAt(...this.at(event));
    // A finger cannot hover: the first tap shows a hand, the second searches from it.
    if (row >= 0 && (event.pointerType === "mouse" || row === this.hovered)) this.send("picked", { map: this.data.map, row });
    else this.point(row);
  }
};

PoseMap.prototype.endDrag = function (event) {
  this.pointers.delete(event.pointerId);
  this.drawing = null;
  this.stage.classList.toggle("dragging", this.pointers.size > 0);
  this.redraw(false);
};

PoseMap.prototype.key = function (event) {
  const by = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }[event.key];
  const tool = { "+": "zoomIn", "=": "zoomIn", "-": "zoomOut", 0: "reset", l: "lasso" }[event.key];
  if (event.ctrlKey || event.metaKey || event.altKey || !this.view) return;
  if (by) this.pan(...by);
  else if (tool) this.tools[tool].click();
  else if (event.key === "Escape") {
    this.drawing = null;
    this.setLasso(false);
    this.redraw(false);
  } else return;
  event.preventDefault();
};

PoseMap.prototype.highlight = function (codes) {
  this.highlighted = codes || this.pinned;
  this.redraw(true);
};

// A key of the legend highlights its hands: while it is hovered or has the focus, or after a click until the next.
PoseMap.prototype.wireKey = function (button, codes, label) {
  button.type = "button";
  button.setAttribute("aria-label", label);
  button.setAttribute("aria-pressed", "false");
  button.title = label;
  button.onpointerenter = button.onfocus = () => this.highlight(codes);
  button.onpointerleave = button.onblur = () => this.highlight(null);
  button.onclick = () => {
    const isPinned = button.getAttribute("aria-pressed") === "true";
    for (const other of this.legend.querySelectorAll("button")) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(!isPinned));
    this.pinned = isPinned ? null : codes;
    this.highlight(codes);
  };
  return button;
};

PoseMap.prototype.swatch = function (code, name, count) {
  const button = element("button", "key");
  const sign = element("canvas");
  sign.width = sign.height = 28;
  const context = sign.getContext("2d");
  outlineShape(context, shapeOf(this.data.kind, code), 14, 14, 9);
  context.fillStyle = colourOf(this.data.kind, code, this.theme);
  context.fill();
  button.append(sign, element("span", "", name), element("small", "", count.toLocaleString("en")));
  return this.wireKey(button, [code, code], `${name}: ${count.toLocaleString("en")} hands`);
};

PoseMap.prototype.drawLegend = function () {
  const { kind, classes, ends, others, unknown, note } = this.data;
  const parts = classes.map(([name, count], code) => this.swatch(code, name, count));
  if (kind === "scale" && ends) {
    const at = (share) => (ends[0] + (ends[1] - ends[0]) * share).toFixed(3);
    const scale = element("div", "scale");
    const width = SHADES / LEGEND_STEPS;
    for (let step = 0; step < LEGEND_STEPS; step++) {
      const codes = [step * width, (step + 1) * width - 1];
      const shades = codes.map((code) => colourOf(kind, code, this.theme));
      const button = this.wireKey(element("button", "step"), codes, `${at(step / LEGEND_STEPS)} to ${at((step + 1) / LEGEND_STEPS)}`);
      button.style.background = `linear-gradient(to right, ${shades.join(", ")})`;
      scale.append(button);
    }
    parts.push(element("span", "end", `≤ ${at(0)}`), scale, element("span", "end", `≥ ${at(1)}`));
  }
  if (kind === "classes" && others[1]) parts.push(this.swatch(OTHERS, `${others[0]} others`, others[1]));
  if (unknown[1]) parts.push(this.swatch(UNKNOWN, ...unknown));
  if (note) parts.push(element("span", "note", note));
  this.legend.replaceChildren(...parts);
};

export default function (component) {
  const { data, parentElement } = component;
  if (!states.has(parentElement)) states.set(parentElement, new PoseMap(parentElement));
  const map = states.get(parentElement);
  map.update(data);
  return () => {
    map.close();
    states.delete(parentElement);
  };
}
