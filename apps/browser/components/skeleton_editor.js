// A hand whose joints are dragged, with the pointer or with the arrow keys.

const SVG = "http://www.w3.org/2000/svg";
const STEP = 10;

function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  const svg = parentElement.querySelector("svg");
  const points = data.points.map((point) => [...point]);
  const lines = [];
  const joints = [];

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
    for (const [parent, child] of data.bones) if (moved.includes(parent) && joint !== 0) moved.push(child);
    return moved;
  }

  function move(joint, dx, dy) {
    for (const each of carried(joint)) {
      points[each][0] = Math.round(Math.min(1500, Math.max(-500, points[each][0] + dx)));
      points[each][1] = Math.round(Math.min(1500, Math.max(-500, points[each][1] + dy)));
    }
    place();
  }

  const tell = () => setStateValue("points", points.flat());

  svg.replaceChildren();
  for (const [parent, child] of data.bones) {
    const line = drawn("line", { stroke: data.colours[child], "stroke-width": 18, "stroke-linecap": "round" });
    lines.push({ line, parent, child });
    svg.append(line);
  }
  points.forEach((_, number) => {
    const joint = drawn("circle", {
      r: 24, fill: data.colours[number], tabindex: 0, role: "button", "aria-label": `${data.names[number]}, drag or use the arrow keys`,
    });
    joint.dataset.joint = number;
    const title = drawn("title", {});
    title.textContent = data.names[number];
    joint.append(title);
    joint.onpointerdown = (event) => {
      event.preventDefault();
      joint.focus();
      joint.setPointerCapture(event.pointerId);
      const scale = 1000 / svg.getBoundingClientRect().width;
      let [x, y] = [event.clientX, event.clientY];
      joint.onpointermove = (next) => {
        move(number, (next.clientX - x) * scale, (next.clientY - y) * scale);
        [x, y] = [next.clientX, next.clientY];
      };
      joint.onpointerup = joint.onpointercancel = () => {
        joint.onpointermove = joint.onpointerup = joint.onpointercancel = null;
        tell();
      };
    };
    joint.onkeydown = (event) => {
      const by = { ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP] }[event.key];
      if (!by) return;
      event.preventDefault();
      move(number, ...by);
    };
    joint.onkeyup = (event) => { if (event.key.startsWith("Arrow")) tell(); };
    joints.push(joint);
    svg.append(joint);
  });
  place();
}
