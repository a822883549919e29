// The map canvas: its state, the view, and its messages to Python. The other files pose_map_*.js are joined with
// this one. All texts are set as textContent.

const MAX_ZOOM = 80;
const LOWERED_PX = 20; // the map's middle is this far below the stage's, because the tools are at the top
const HIT_RADIUS_PX = 14;
const HOVER_DELAY_MS = 80;
const ANSWER_TIMEOUT_MS = 2000;
const CACHED_TIPS = 400;
const VIEW_REST_MS = 500;
const VIEW_TIMEOUT_MS = 20000;
const MAX_CORNERS = 300;
const maps = new WeakMap();
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

class PoseMap {
  constructor(root) {
    this.stage = root.querySelector(".stage");
    this.face = root.querySelector("canvas.face");
    this.tip = root.querySelector(".tip");
    this.said = root.querySelector(".said");
    this.legend = root.querySelector(".legend");
    this.tools = Object.fromEntries([...root.querySelectorAll("[data-tool]")].map((tool) => [tool.dataset.tool, tool]));
    this.raster = new Raster();
    this.drawMs = 0; // that the points took last
    this.view = null;
    this.hovered = -1;
    this.highlighted = null; // [first, last] code that the legend highlights
    this.pinned = null;
    this.outline = null;
    this.chosen = this.kept = null; // a bit for each point, as Python sent them; null: of none, of all
    this.links = {}; // what Python said about conditions and the answer
    this.lit = []; // the answer: [x, y, place]
    this.marks = []; // what was asked about: [x, y, text]
    this.contours = null; // of the points that meet the conditions, once somebody wants to see them
    this.isAnnounced = false; // whether the hand was reached by keyboard
    this.drawing = null;
    this.lasso = false;
    this.pointers = new Map();
    this.tips = new Map();
    this.question = { timer: 0, since: 0 };
    this.address = { timer: 0, sent: null, view: "" }; // the part in view, as the address has it; when it was sent
    this.receive = ({ detail }) => detail.topic === this.data?.topic && this.takeAnswer(detail);
    window.addEventListener("handsim-map-answer", this.receive);
    this.watch = new ResizeObserver(() => this.redraw(true));
    this.watch.observe(this.stage);
    this.listen();
  }

  close() {
    window.removeEventListener("handsim-map-answer", this.receive);
    this.watch.disconnect();
    clearTimeout(this.question.timer);
    clearTimeout(this.address.timer);
    clearTimeout(this.resting);
  }

  // Streamlit calls this also when the theme has changed, and when nothing has.
  update(bytes) {
    const ground = this.ground;
    this.readTheme();
    const start = bytes.indexOf(10) + 1;
    const header = new TextDecoder().decode(bytes.subarray(0, start));
    if (header === this.header && ground === this.ground) return;
    const isNew = !this.data;
    if (header !== this.header) this.take(JSON.parse(header), bytes.slice(start).buffer);
    this.header = header;
    this.highlighted = this.pinned = null;
    this.drawLegend();
    this.mixStates();
    if (isNew) this.send("ready", null);
  }

  take(data, sent) {
    if (this.data?.map !== data.map) {
      this.view = null;
      this.tips.clear();
    }
    this.data = data;
    this.points = decode(sent, data.count);
    this.point(-1);
    this.face.setAttribute("aria-label", data.label);
  }

  readTheme() {
    const style = getComputedStyle(this.stage);
    const [red, green, blue] = style.backgroundColor.match(/\d+/g).map(Number);
    this.theme = red * 0.3 + green * 0.6 + blue * 0.1 < 128 ? "dark" : "light";
    [this.ink, this.ground, this.font] = [style.color, style.backgroundColor, style.fontFamily];
    this.accent = style.getPropertyValue("--st-primary-color");
  }

  // Which points are drawn bright, dim, or as left out.
  mixStates() {
    const { count, places, codes, states } = this.points;
    const { kept, chosen } = this;
    const [low, high] = this.highlighted || [0, 255];
    const has = (bits, place) => (bits[place >> 3] >> (place & 7)) & 1;
    let shown = 0;
    for (let i = 0; i < count; i++) {
      const isKept = codes[i] >= low && codes[i] <= high && (!kept || has(kept, places[i]));
      shown += isKept;
      states[i] = !isKept ? FILTERED : !chosen || has(chosen, places[i]) ? BRIGHT : DIM;
    }
    this.isPart = shown < count || Boolean(chosen);
    this.contours = null;
    this.stage.dataset.shown = shown;
    this.redraw(true);
  }

  // The view: from the map's unit square to pixels, and back. A map is wider than high; on a stage that is
  // higher than wide, as on a phone, it is drawn on its side, with x down and y to the right.

  get size() {
    return [this.stage.clientWidth, this.stage.clientHeight];
  }

  get onSide() {
    const [width, height] = this.size;
    return height > width;
  }

  swapOnSide(x, y) {
    return this.onSide ? [y, x] : [x, y];
  }

  get whole() {
    const { left, right, top, bottom } = this.points.box;
    const [width, height] = this.size;
    const [wide, high] = this.swapOnSide(right - left || 0.1, bottom - top || 0.1);
    const scale = Math.min((width - 40) / wide, (height - 90) / high);
    return { x: (left + right) / 2, y: (top + bottom) / 2, scale };
  }

  get scale() {
    return this.view.zoom * this.whole.scale;
  }

  project(x, y) {
    const [width, height] = this.size;
    const [across, down] = this.swapOnSide((x - this.view.x) * this.scale, (y - this.view.y) * this.scale);
    return [across + width / 2, down + height / 2 + LOWERED_PX];
  }

  unproject(px, py) {
    const [width, height] = this.size;
    const [x, y] = this.swapOnSide((px - width / 2) / this.scale, (py - height / 2 - LOWERED_PX) / this.scale);
    return [x + this.view.x, y + this.view.y];
  }

  setView(x, y, zoom) {
    const { left, right, top, bottom } = this.points.box;
    this.view = { x: clamp(x, left, right), y: clamp(y, top, bottom), zoom: clamp(zoom, 0.8, MAX_ZOOM) };
    this.stage.dataset.zoom = this.view.zoom.toFixed(2);
    this.redrawMoved();
    clearTimeout(this.address.timer);
    this.address.timer = setTimeout(() => this.keepView(), VIEW_REST_MS);
  }

  zoomAt(px, py, factor) {
    const [x, y] = this.unproject(px, py);
    const zoom = clamp(this.view.zoom * factor, 0.8, MAX_ZOOM);
    const ratio = this.view.zoom / zoom;
    this.setView(x + (this.view.x - x) * ratio, y + (this.view.y - y) * ratio, zoom);
  }

  pan(dx, dy) {
    const [x, y] = this.swapOnSide(dx / this.scale, dy / this.scale);
    this.setView(this.view.x - x, this.view.y - y, this.view.zoom);
  }

  reset() {
    this.setView(this.whole.x, this.whole.y, 1);
  }

  get viewText() {
    const { x, y, zoom } = this.view;
    const { whole } = this;
    const isWhole = zoom === 1 && Math.hypot(x - whole.x, y - whole.y) < 1e-4;
    return isWhole ? "" : [x.toFixed(4), y.toFixed(4), zoom.toFixed(2)].join("_");
  }

  // The part in view, once it rests, in the place of the one before: panning is no step of the way back. Streamlit
  // then finds its own change of the address done.
  keepView() {
    const view = this.viewText;
    if (view === this.address.view) return;
    this.address = { timer: 0, sent: performance.now(), view };
    const params = new URLSearchParams(window.location.search);
    if (view) params.set("view", view);
    else params.delete("view");
    const query = params.toString();
    window.history.replaceState(window.history.state, "", window.location.pathname + (query && `?${query}`));
    this.send("viewed", { map: this.data.map, view });
  }

  // Show what the address says. Until what was sent comes back, answers tell of earlier places.
  takeView(view) {
    const { sent } = this.address;
    if (view === this.address.view) this.address.sent = null;
    else if (sent !== null && performance.now() - sent < VIEW_TIMEOUT_MS) return;
    if (view === this.address.view) return;
    Object.assign(this.address, { sent: null, view });
    if (view) this.setView(...view.split("_").map(Number));
    else if (this.view) this.reset();
  }

  // Messages to Python, through the channels.

  send(kind, value) {
    window.dispatchEvent(new CustomEvent("handsim-map-message", { detail: { topic: this.data.topic, kind, value } }));
  }

  // A point of the map in a message.
  sendPoint(kind, i, more) {
    this.send(kind, { map: this.data.map, place: this.points.places[i], ...more });
  }

  point(i, isAnnounced = false) {
    this.isAnnounced = isAnnounced;
    if (i === this.hovered) return;
    this.hovered = i;
    this.stage.classList.toggle("pointing", i >= 0);
    this.stage.dataset.hovered = i;
    this.tip.hidden = true;
    clearTimeout(this.question.timer);
    const tip = this.tips.get(this.points.places[i]);
    if (tip) this.fillTip(tip);
    else if (i >= 0) this.question.timer = setTimeout(() => this.requestTip(i), HOVER_DELAY_MS);
    this.redraw(false);
  }

  requestTip(i) {
    // One question at a time; the next is about the hand under the pointer when the answer comes. One is lost where
    // the page is not drawn as far as the channel that takes it, so it is asked again.
    const now = performance.now();
    clearTimeout(this.question.timer);
    this.question.timer = setTimeout(() => this.tips.has(this.points.places[i]) || this.requestTip(i), ANSWER_TIMEOUT_MS);
    if (this.question.since && now - this.question.since < ANSWER_TIMEOUT_MS) return;
    this.question.since = now;
    this.sendPoint("hovered", i, { turn: Math.round(now) });
  }

  takeAnswer({ hand, outline, chosen, links, view }) {
    if (view !== undefined) this.takeView(view);
    if (outline !== undefined) {
      this.outline = outline;
      this.redraw(false);
    }
    if (chosen !== undefined && chosen !== this.chosenBits) {
      this.chosenBits = chosen;
      this.chosen = readBits(chosen);
      this.mixStates();
    }
    if (links?.map === this.data.map) this.takeLinks(links);
    if (!hand || hand.map !== this.data.map) return;
    this.question.since = 0;
    this.tips.set(hand.place, hand);
    if (this.tips.size > CACHED_TIPS) this.tips.delete(this.tips.keys().next().value);
    const asked = this.points.places[this.hovered];
    if (hand.place === asked) this.fillTip(hand);
    else if (this.hovered >= 0 && !this.tips.has(asked)) this.requestTip(this.hovered);
  }

  takeLinks(links) {
    const isOther = links.kept !== this.links.kept;
    Object.assign(this, { links, lit: links.lit, marks: links.marks });
    this.stage.dataset.lit = links.lit.length;
    this.showActive();
    if (isOther) this.kept = readBits(links.kept);
    if (isOther) this.mixStates();
    else this.redraw(true);
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
    if (this.isAnnounced) this.said.textContent = [hand.title, ...hand.lines].filter(Boolean).join(", ");
    this.redraw(false);
  }

  placeTip(x, y, width, height) {
    const [wide, high] = [this.tip.offsetWidth, this.tip.offsetHeight];
    const left = x + 18 + wide > width ? x - 18 - wide : x + 18;
    const top = clamp(y - high / 2, 6, Math.max(6, height - high - 6));
    this.tip.style.transform = `translate(${Math.round(clamp(left, 6, Math.max(6, width - wide - 6)))}px, ${Math.round(top)}px)`;
  }

  sendOutline(corners) {
    const apart = Math.ceil(corners.length / MAX_CORNERS);
    const sparse = corners.filter((_, i) => i % apart === 0);
    if (sparse.length < 3) return;
    this.outline = sparse;
    const rounded = sparse.map(([x, y]) => [Number(x.toFixed(5)), Number(y.toFixed(5))]);
    this.send("outlined", { map: this.data.map, corners: rounded });
  }
}

const readBits = (text) => (text ? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)) : null);
