// Carries the canvas's messages to Python and the answers back. The canvas itself sends nothing to Python, so
// that its points are not sent again for each hand under the pointer.

const channels = new WeakMap();

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  let channel = channels.get(parentElement);
  if (!channel) {
    channel = {};
    channel.answer = () => {
      const detail = { topic: channel.data.topic, ...channel.data.answer };
      if (channel.data.answer) window.dispatchEvent(new CustomEvent("handsim-map-answer", { detail }));
    };
    channel.receive = ({ detail }) => {
      if (detail.topic !== channel.data.topic) return;
      if (detail.kind === "ready") channel.answer();
      else if (channel.data.kinds.includes(detail.kind)) channel.setTriggerValue(detail.kind, detail.value);
    };
    window.addEventListener("handsim-map-message", channel.receive);
    channels.set(parentElement, channel);
  }
  Object.assign(channel, { data, setTriggerValue });
  channel.answer();
  return () => {
    window.removeEventListener("handsim-map-message", channel.receive);
    channels.delete(parentElement);
  };
}
