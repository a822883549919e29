// The map canvas's legend. An entry that is a condition of Search sends it; any other highlights its hands here.

const SCALE_STEPS = 8;

PoseMap.prototype.highlight = function (codes) {
  this.highlighted = codes || this.pinned;
  this.mixStates();
};

// An entry shows its hands alone while it is hovered or has the focus, and after a click until the next one.
PoseMap.prototype.wireKey = function (button, codes, label) {
  button.type = "button";
  button.setAttribute("aria-label", label);
  button.setAttribute("aria-pressed", "false");
  button.title = label;
  button.onpointerenter = (event) => event.pointerType === "mouse" && this.highlight(codes);
  button.onpointerleave = button.onblur = () => this.highlight(null);
  const { name } = button.dataset;
  if (name !== undefined) {
    button.onclick = () => {
      this.highlight(null);
      this.send("filtered", { map: this.data.map, field: this.data.field, name });
    };
    return button;
  }
  button.onfocus = () => button.matches(":focus-visible") && this.highlight(codes);
  button.onclick = () => {
    const isPinned = button.getAttribute("aria-pressed") === "true";
    for (const other of this.legend.querySelectorAll("button:not([data-name])")) other.setAttribute("aria-pressed", "false");
    button.setAttribute("aria-pressed", String(!isPinned));
    this.pinned = isPinned ? null : codes;
    this.highlight(this.pinned);
    this.said.textContent = `${Number(this.stage.dataset.shown).toLocaleString("en")} of ${this.points.count.toLocaleString("en")} hands shown`;
  };
  return button;
};

PoseMap.prototype.showActive = function () {
  const active = this.links.active?.[this.data.field] || [];
  for (const button of this.legend.querySelectorAll("button[data-name]")) {
    button.setAttribute("aria-pressed", String(active.includes(button.dataset.name)));
  }
};

PoseMap.prototype.swatch = function (code, name, count, isCondition = false) {
  const button = element("button", "key");
  const sign = element("canvas");
  sign.width = sign.height = 28;
  const context = sign.getContext("2d");
  outlineShape(context, shapeOf(this.data.kind, code), 14, 14, 9);
  context.fillStyle = colourOf(this.data.kind, code, this.theme);
  context.fill();
  button.append(sign, element("span", "", name), element("small", "", count.toLocaleString("en")));
  if (isCondition) button.dataset.name = name;
  return this.wireKey(button, [code, code], `${name}: ${count.toLocaleString("en")} hands`);
};

// A colour bar in steps that can be clicked, with the numbers at its ends and in its middle.
PoseMap.prototype.scaleBar = function ([low, high]) {
  const at = (share) => (low + (high - low) * share).toFixed(3);
  const bar = element("div", "scale");
  const width = SHADES / SCALE_STEPS;
  for (let step = 0; step < SCALE_STEPS; step++) {
    const codes = [step * width, (step + 1) * width - 1];
    const shades = codes.map((code) => colourOf(this.data.kind, code, this.theme));
    const label = `${at(step / SCALE_STEPS)} to ${at((step + 1) / SCALE_STEPS)}`;
    const button = this.wireKey(element("button", "step"), codes, label);
    button.style.background = `linear-gradient(to right, ${shades.join(", ")})`;
    bar.append(button);
  }
  const middle = element("span", "end", at(0.5));
  const scale = element("div", "bar");
  const ends = element("div", "ends");
  ends.append(element("span", "end", `≤ ${at(0)}`), middle, element("span", "end", `≥ ${at(1)}`));
  scale.append(bar, ends);
  return scale;
};

PoseMap.prototype.drawLegend = function () {
  const { kind, classes, ends, others, unknown, note } = this.data;
  const parts = classes.map(([name, count, isCondition], code) => this.swatch(code, name, count, isCondition));
  if (kind === "scale" && unknown[1] < this.points.count) parts.push(this.scaleBar(ends));
  if (kind === "classes" && others[1]) parts.push(this.swatch(OTHERS, `${others[0]} others`, others[1]));
  if (unknown[1]) parts.push(this.swatch(UNKNOWN, ...unknown));
  if (note) parts.push(element("span", "note", note));
  this.legend.replaceChildren(...parts);
  this.showActive();
};

export default function (component) {
  const { data, parentElement } = component;
  if (!maps.has(parentElement)) maps.set(parentElement, new PoseMap(parentElement));
  const map = maps.get(parentElement);
  map.update(data);
  return () => {
    map.close();
    maps.delete(parentElement);
  };
}
