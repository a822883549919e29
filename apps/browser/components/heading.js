// A heading that screen readers hear of when it changes. It takes the focus when somebody went to what it heads.

const turns = (window.handsimTurns ??= {});

export default function ({ data, parentElement }) {
  const region = parentElement.querySelector(".heading");
  const heading = region.firstElementChild ?? region.appendChild(element(`h${data.level}`));
  heading.tabIndex = -1;
  const isAsked = data.turn > (turns[data.name] ?? 0);
  turns[data.name] = data.turn;
  region.ariaLive = isAsked ? "off" : "polite"; // the focus says it already
  if (heading.textContent !== data.text) heading.textContent = data.text;
  if (!isAsked) return;
  heading.focus({ preventScroll: true });
  requestAnimationFrame(() => heading.scrollIntoView({ block: "nearest" })); // once what stands above it is drawn
}
