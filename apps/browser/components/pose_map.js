// A map of hands to wander over: what it knows, where things are on it, and what it asks Python. All texts go
// in as textContent.

const CLOSEST = 80;
const LOWERED_PX = 20; // the map's middle, below the stage's, for the tools are above it
const REACH_PX = 14;
const RESTS_MS = 80;
const GIVES_UP_MS = 2000;
const REMEMBERED = 400;
const MOST_CORNERS = 300;
const STEPS = 8;
const states = new WeakMap();
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

class PoseMap {
  constructor(root) {
    this.stage = root.querySelector(".stage");
    this.face = root.querySelector("canvas.face");
    this.tip = root.querySelector(".tip");
    this.legend = root.querySelector(".legend");
    this.tools = Object.fromEntries([...root.querySelectorAll("[data-tool]")].map((tool) => [tool.dataset.tool, tool]));
    this.buffer = document.createElement("canvas");
    this.view = null;
    this.hovered = -1;
    this.shown = null; // which codes a legend's key has called up
    this.pinned = null;
    this.outline = null;
    this.drawing = null;
    this.lasso = false;
    this.fingers = new Map();
    this.remembered = new Map();
    this.asked = { timer: 0, since: 0 };
    this.hear = ({ detail }) => detail.topic === this.data?.topic && this.answered(detail);
    window.addEventListener("handsim-map-answer", this.hear);
    this.watch = new ResizeObserver(() => this.redraw(true));
    this.watch.observe(this.stage);
    this.listen();
  }

  close() {
    window.removeEventListener("handsim-map-answer", this.hear);
    this.watch.disconnect();
    clearTimeout(this.asked.timer);
    clearTimeout(this.resting);
  }

  update(data) {
    const style = getComputedStyle(this.stage);
    const [red, green, blue] = style.backgroundColor.match(/\d+/g).map(Number);
    this.theme = red * 0.3 + green * 0.6 + blue * 0.1 < 128 ? "dark" : "light";
    [this.ink, this.ground, this.font] = [style.color, style.backgroundColor, style.fontFamily];
    this.accent = style.getPropertyValue("--st-primary-color");
    if (this.data?.points !== data.points || this.data?.map !== data.map) {
      this.points = decoded(data.points, data.shown);
      this.point(-1);
    }
    if (this.data?.map !== data.map) {
      this.view = null;
      this.remembered.clear();
    }
    const isNew = !this.data;
    this.data = data;
    this.shown = this.pinned = null;
    this.face.setAttribute("aria-label", data.label);
    this.drawLegend();
    this.redraw(true);
    if (isNew) this.say("ready", null);
  }

  // Where things are: the map's unit square to pixels of the page, and back. The map is wide; where the page
  // is not, as on a phone, it is laid on its side, x down and y to the right.

  get size() {
    return [this.stage.clientWidth, this.stage.clientHeight];
  }

  get onSide() {
    const [width, height] = this.size;
    return height > width;
  }

  sided(x, y) {
    return this.onSide ? [y, x] : [x, y];
  }

  get whole() {
    const { left, right, top, bottom } = this.points.box;
    const [width, height] = this.size;
    const [wide, high] = this.sided(right - left || 0.1, bottom - top || 0.1);
    const scale = Math.min((width - 40) / wide, (height - 90) / high);
    return { x: (left + right) / 2, y: (top + bottom) / 2, scale };
  }

  get scale() {
    return this.view.zoom * this.whole.scale;
  }

  place(x, y) {
    const [width, height] = this.size;
    const [across, down] = this.sided((x - this.view.x) * this.scale, (y - this.view.y) * this.scale);
    return [across + width / 2, down + height / 2 + LOWERED_PX];
  }

  unplace(px, py) {
    const [width, height] = this.size;
    const [x, y] = this.sided((px - width / 2) / this.scale, (py - height / 2 - LOWERED_PX) / this.scale);
    return [x + this.view.x, y + this.view.y];
  }

  look(x, y, zoom) {
    const { left, right, top, bottom } = this.points.box;
    this.view = { x: clamp(x, left, right), y: clamp(y, top, bottom), zoom: clamp(zoom, 0.8, CLOSEST) };
    this.stage.dataset.zoom = this.view.zoom.toFixed(2);
    this.redrawMoved();
  }

  zoomAt(px, py, factor) {
    const [x, y] = this.unplace(px, py);
    const zoom = clamp(this.view.zoom * factor, 0.8, CLOSEST);
    const kept = this.view.zoom / zoom;
    this.look(x + (this.view.x - x) * kept, y + (this.view.y - y) * kept, zoom);
  }

  pan(dx, dy) {
    const [x, y] = this.sided(dx / this.scale, dy / this.scale);
    this.look(this.view.x - x, this.view.y - y, this.view.zoom);
  }

  reset() {
    this.look(this.whole.x, this.whole.y, 1);
  }

  isShown = (code) => !this.shown || (code >= this.shown[0] && code <= this.shown[1]);

  // Asking Python, through the couriers.

  say(kind, value) {
    window.dispatchEvent(new CustomEvent("handsim-map-ask", { detail: { topic: this.data.topic, kind, value } }));
  }

  point(row) {
    if (row === this.hovered) return;
    this.hovered = row;
    this.stage.classList.toggle("pointing", row >= 0);
    this.stage.dataset.hovered = row;
    this.tip.hidden = true;
    clearTimeout(this.asked.timer);
    if (this.remembered.has(row)) this.fillTip(this.remembered.get(row));
    else if (row >= 0) this.asked.timer = setTimeout(() => this.askAbout(row), RESTS_MS);
    this.redraw(false);
  }

  askAbout(row) {
    // One question at a time: what the pointer rests on when the answer comes is asked next.
    const now = performance.now();
    if (this.asked.since && now - this.asked.since < GIVES_UP_MS) return;
    this.asked.since = now;
    this.say("hovered", { map: this.data.map, row, turn: Math.round(now) });
  }

  answered({ hand, outline }) {
    if (outline !== undefined) {
      this.outline = outline;
      this.redraw(false);
    }
    if (!hand || hand.map !== this.data.map) return;
    this.asked.since = 0;
    this.remembered.set(hand.row, hand);
    if (this.remembered.size > REMEMBERED) this.remembered.delete(this.remembered.keys().next().value);
    if (hand.row === this.hovered) this.fillTip(hand);
    else if (this.hovered >= 0 && !this.remembered.has(this.hovered)) this.askAbout(this.hovered);
  }

  fillTip(hand) {
    const crop = element("div", "crop");
    if (hand.picture) {
      const picture = element("img");
      picture.src = hand.picture;
      picture.alt = "";
      crop.append(picture);
    }
    const lines = hand.lines.map((line) => element("span", "", line));
    this.tip.replaceChildren(crop, element("b", "", hand.title), ...lines);
    this.tip.hidden = false;
    this.redraw(false);
  }

  putTip(x, y, width, height) {
    const [wide, high] = [this.tip.offsetWidth, this.tip.offsetHeight];
    const left = x + 18 + wide > width ? x - 18 - wide : x + 18;
    const top = clamp(y - high / 2, 6, Math.max(6, height - high - 6));
    this.tip.style.transform = `translate(${Math.round(clamp(left, 6, Math.max(6, width - wide - 6)))}px, ${Math.round(top)}px)`;
  }

  outlined(corners) {
    const apart = Math.ceil(corners.length / MOST_CORNERS);
    const kept = corners.filter((_, i) => i % apart === 0);
    if (kept.length < 3) return;
    this.outline = kept;
    const rounded = kept.map(([x, y]) => [Number(x.toFixed(5)), Number(y.toFixed(5))]);
    this.say("outlined", { map: this.data.map, corners: rounded });
  }
}
