// Carries what the map is asked to Python and the answers back. The map itself never asks, so that its
// points are not drawn up and sent again for each hand that is pointed at.

const held = new WeakMap();

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let mine = held.get(parentElement);
  if (!mine) {
    mine = {};
    mine.answer = () => {
      const detail = { topic: mine.data.topic, ...mine.data.answer };
      if (mine.data.answer) window.dispatchEvent(new CustomEvent("handsim-map-answer", { detail }));
    };
    mine.ask = ({ detail }) => {
      if (detail.topic !== mine.data.topic) return;
      if (detail.kind === "ready") mine.answer();
      else if (mine.data.kinds.includes(detail.kind)) mine.setTriggerValue(detail.kind, detail.value);
    };
    window.addEventListener("handsim-map-ask", mine.ask);
    held.set(parentElement, mine);
  }
  Object.assign(mine, { data, setTriggerValue });
  mine.answer();
  return () => {
    window.removeEventListener("handsim-map-ask", mine.ask);
    held.delete(parentElement);
  };
}
