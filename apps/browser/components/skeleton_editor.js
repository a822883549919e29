// A hand whose joints are dragged, with the pointer or with the arrow keys.

const STEP = 10;
const editors = new WeakMap();

// Fills an SVG; returns a function to call with each answer of Python.
function buildEditor(svg, { bones, colours, names }) {
  const lines = [];
  const joints = [];
  const dragged = new Set();
  let points = [];
  let unanswered = []; // poses sent to Python
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

  // The joints that move with one: those further along the finger.
  function descendants(joint) {
    const moved = [joint];
    for (const [parent, child] of bones) if (moved.includes(parent) && joint !== 0) moved.push(child);
    return moved;
  }

  function move(joint, dx, dy) {
    const moved = descendants(joint);
    [dx, dy].forEach((by, axis) => {
      // Stay in the box: a joint outside of it could not be reached again.
      const places = moved.map((each) => points[each][axis]);
      const [least, most] = [Math.min(0, -Math.min(...places)), Math.max(0, 1000 - Math.max(...places))];
      const shift = Math.round(Math.min(most, Math.max(least, by)));
      for (const each of moved) points[each][axis] += shift;
    });
    place();
  }

  function release(number) {
    if (!dragged.delete(number)) return;
    unanswered.push(String(points));
    setStateValue("points", points.flat());
  }

  for (const [parent, child] of bones) {
    const line = svgElement("line", { stroke: colours[child], "stroke-width": 18, "stroke-linecap": "round" });
    lines.push({ line, parent, child });
    svg.append(line);
  }
  names.forEach((name, number) => {
    const joint = svgElement("circle", {
      r: 24, fill: colours[number], tabindex: 0, role: "button", "aria-label": `${name}, drag or use the arrow keys`,
    });
    joint.dataset.joint = number;
    const title = svgElement("title", {});
    title.textContent = name;
    joint.append(title);
    joint.onpointerdown = (event) => {
      event.preventDefault();
      joint.focus();
      joint.setPointerCapture(event.pointerId);
      dragged.add(number);
      const scale = 1000 / svg.getBoundingClientRect().width;
      let [x, y] = [event.clientX, event.clientY];
      joint.onpointermove = (next) => {
        move(number, (next.clientX - x) * scale, (next.clientY - y) * scale);
        [x, y] = [next.clientX, next.clientY];
      };
      joint.onpointerup = joint.onpointercancel = () => {
        joint.onpointermove = joint.onpointerup = joint.onpointercancel = null;
        release(number);
      };
    };
    joint.onkeydown = (event) => {
      const by = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
      if (!by) return;
      event.preventDefault();
      dragged.add(number);
      move(number, ...by);
    };
    const releaseKey = () => { if (!joint.onpointermove) release(number); };
    joint.onkeyup = (event) => { if (event.key.startsWith("Arrow")) releaseKey(); };
    joint.onblur = releaseKey; // the key is released elsewhere
    joints.push(joint);
    svg.append(joint);
  });

  return (data, set) => {
    setStateValue = set;
    const answered = unanswered.lastIndexOf(String(data.points));
    unanswered = answered < 0 ? [] : unanswered.slice(answered + 1);
    // While a joint is dragged on, an earlier answer must not move the hand back.
    if (dragged.size || unanswered.length) return;
    points = data.points.map((point) => [...point]);
    place();
  };
}

export default function ({ data, parentElement, setStateValue }) {
  const svg = parentElement.querySelector("svg");
  // Built once: a circle that is replaced loses the focus and the pointer capture.
  if (!editors.has(svg)) editors.set(svg, buildEditor(svg, data));
  editors.get(svg)(data, setStateValue);
}
