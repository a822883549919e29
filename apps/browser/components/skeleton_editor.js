// A hand whose joints are dragged, with the pointer or with the arrow keys.

const SVG = "http://www.w3.org/2000/svg";
const STEP = 10;
const editors = new WeakMap();

function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Fills an SVG; returns what is to be called with each answer.
function editor(svg, { bones, colours, names }) {
  const lines = [];
  const joints = [];
  const held = new Set();
  let points = [];
  let told = []; // and not answered yet
  let setStateValue;

  function place() {
    for (const { line, parent, child } of lines) {
      line.setAttribute("x1", points[parent][0]);
      line.setAttribute("y1", points[parent][1]);
      line.setAttribute("x2", points[child][0]);
      line.setAttribute("y2", points[child][1]);
    }
    joints.forEach((joint, number) => {
      joint.setAttribute("cx", points[number][0]);
      joint.setAttribute("cy", points[number][1]);
    });
  }

  // What hangs on a joint comes with it, so that a finger is moved at its root as a whole.
  function carried(joint) {
    const moved = [joint];
    for (const [parent, child] of bones) if (moved.includes(parent) && joint !== 0) moved.push(child);
    return moved;
  }

  function move(joint, dx, dy) {
    const moved = carried(joint);
    [dx, dy].forEach((by, axis) => {
      // No further than the box: a joint outside of it could not be taken hold of again.
      const places = moved.map((each) => points[each][axis]);
      const [least, most] = [Math.min(0, -Math.min(...places)), Math.max(0, 1000 - Math.max(...places))];
      const shift = Math.round(Math.min(most, Math.max(least, by)));
      for (const each of moved) points[each][axis] += shift;
    });
    place();
  }

  function letGo(number) {
    if (!held.delete(number)) return;
    told.push(String(points));
    setStateValue("points", points.flat());
  }

  for (const [parent, child] of bones) {
    const line = drawn("line", { stroke: colours[child], "stroke-width": 18, "stroke-linecap": "round" });
    lines.push({ line, parent, child });
    svg.append(line);
  }
  names.forEach((name, number) => {
    const joint = drawn("circle", {
      r: 24, fill: colours[number], tabindex: 0, role: "button", "aria-label": `${name}, drag or use the arrow keys`,
    });
    joint.dataset.joint = number;
    const title = drawn("title", {});
    title.textContent = name;
    joint.append(title);
    joint.onpointerdown = (event) => {
      event.preventDefault();
      joint.focus();
      joint.setPointerCapture(event.pointerId);
      held.add(number);
      const scale = 1000 / svg.getBoundingClientRect().width;
      let [x, y] = [event.clientX, event.clientY];
      joint.onpointermove = (next) => {
        move(number, (next.clientX - x) * scale, (next.clientY - y) * scale);
        [x, y] = [next.clientX, next.clientY];
      };
      joint.onpointerup = joint.onpointercancel = () => {
        joint.onpointermove = joint.onpointerup = joint.onpointercancel = null;
        letGo(number);
      };
    };
    joint.onkeydown = (event) => {
      const by = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
      if (!by) return;
      event.preventDefault();
      held.add(number);
      move(number, ...by);
    };
    const keyLetGo = () => { if (!joint.onpointermove) letGo(number); };
    joint.onkeyup = (event) => { if (event.key.startsWith("Arrow")) keyLetGo(); };
    joint.onblur = keyLetGo; // the key comes up elsewhere
    joints.push(joint);
    svg.append(joint);
  });

  return (data, set) => {
    setStateValue = set;
    const answered = told.lastIndexOf(String(data.points));
    told = answered < 0 ? [] : told.slice(answered + 1);
    // A hand that was moved on meanwhile does not go back to what it was.
    if (held.size || told.length) return;
    points = data.points.map((point) => [...point]);
    place();
  };
}

export default function ({ data, parentElement, setStateValue }) {
  const svg = parentElement.querySelector("svg");
  // Built once: a circle that is replaced loses the focus, and the pointer that drags it.
  if (!editors.has(svg)) editors.set(svg, editor(svg, data));
  editors.get(svg)(data, setStateValue);
}
