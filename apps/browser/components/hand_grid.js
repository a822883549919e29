// Hands side by side: the crop with its skeleton, captions, and buttons to search with.
// All texts are set as textContent, so text from files is never read as markup.

function drawSkeleton(points, bones, colours) {
  const svg = svgElement("svg", { viewBox: "0 0 1000 1000", "aria-hidden": "true" });
  const drawn = bones.filter(([parent, child]) => points[parent] && points[child]); // an unlabelled joint is null
  for (const rim of [true, false]) {
    for (const [parent, child] of drawn) {
      const [[x1, y1], [x2, y2]] = [points[parent], points[child]];
      const stroke = rim ? "#141414" : colours[child];
      svg.append(svgElement("line", { x1, y1, x2, y2, stroke, "stroke-width": rim ? 26 : 16, "stroke-linecap": "round" }));
    }
  }
  points.forEach((point, joint) => {
    if (!point) return;
    const [cx, cy] = point;
    svg.append(svgElement("circle", { cx, cy, r: 16, fill: colours[joint], stroke: "#141414", "stroke-width": 5 }));
  });
  return svg;
}

// What a card shows, in the order in which people need it; its id comes last.
const describe = (hand) => [hand.title, ...hand.lines].filter(Boolean).join(", ");
const nameOf = (hand) => [hand.title, `hand ${hand.id}`].filter(Boolean).join(", ");

function buildMarker(hand, like, onMark) {
  const isMarked = hand.mark === (like ? "like" : "unlike");
  const button = element("button", `mark ${like ? "more" : "less"}`, like ? "+" : "−");
  button.type = "button";
  button.setAttribute("aria-pressed", String(isMarked));
  button.setAttribute("aria-label", `${like ? "More" : "Less"} like this one: ${nameOf(hand)}`);
  button.title = like ? "More like this one" : "Less like this one";
  button.onclick = () => onMark(hand.id, like);
  return button;
}

function buildCard(hand, data, onPick, onMark, choices) {
  const figure = element("figure", `card ${hand.mark || ""}`);
  figure.dataset.hand = hand.id;
  const frame = element(data.pickable ? "button" : "div", "frame");
  if (data.pickable) {
    frame.type = "button";
    const verb = data.verb.replace("{id}", hand.id);
    frame.setAttribute("aria-label", [describe(hand), verb].filter(Boolean).join(". "));
    frame.title = data.verb.replace("{id}", "");
    frame.onclick = () => onPick(hand.id);
  }
  if (hand.picture) {
    const picture = element("img");
    picture.src = hand.picture;
    picture.alt = "";
    picture.draggable = false;
    frame.append(picture);
  } else {
    frame.classList.add("bare");
  }
  if (hand.points && (data.skeletons || !hand.picture)) {
    frame.append(drawSkeleton(hand.points, data.bones, data.colours));
  }
  figure.append(frame);
  if (choices) choices.wire(figure, frame, hand);
  if (data.markable) {
    const marks = element("div", "marks");
    marks.append(buildMarker(hand, true, onMark), buildMarker(hand, false, onMark));
    figure.append(marks);
  }
  const caption = element("figcaption");
  if (hand.title) caption.append(element("b", "", hand.title));
  for (const line of hand.lines) {
    const span = element("span", "", line);
    span.title = line;
    caption.append(span);
  }
  figure.append(caption);
  return figure;
}

function groupPairs(figures, captions) {
  return captions.map((caption, number) => {
    const pair = element("div", "pair");
    pair.setAttribute("role", "group");
    pair.setAttribute("aria-label", caption);
    pair.append(element("p", "", caption), ...figures.slice(2 * number, 2 * number + 2));
    return pair;
  });
}

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const grid = parentElement.querySelector(".grid");
  grid.classList.toggle("compact", data.compact);
  grid.classList.toggle("strip", data.strip);
  grid.classList.toggle("paired", data.pairs !== null);
  grid.setAttribute("aria-label", data.label);
  const onPick = (id) => setTriggerValue("picked", id);
  const onMark = (id, like) => setTriggerValue("marked", { id, like });
  const choices = data.choosable ? choicesOf(parentElement) : null;
  choices?.update(data, (message) => setTriggerValue("chosen", message));
  // The focus stays where it is, so that the keyboard can mark one hand after another.
  const focused = parentElement.activeElement;
  const card = focused?.closest(".card");
  const figures = data.hands.map((hand) => buildCard(hand, data, onPick, onMark, choices));
  grid.replaceChildren(...(data.pairs === null ? figures : groupPairs(figures, data.pairs)));
  if (choices) grid.prepend(choices.buildAll());
  choices?.show();
  if (card) grid.querySelector(`[data-hand="${card.dataset.hand}"] .${[...focused.classList].join(".")}`)?.focus();
  else if (focused) choices?.all?.focus();
  return () => closeChoices(parentElement);
}
