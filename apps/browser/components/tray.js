// The hands of the tray: how many, pictures of the last ones, and word of them to all grids of the page.

export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  document.cookie = `${data.cookie}; path=/; max-age=31536000; SameSite=Lax`;
  const tray = parentElement.querySelector(".tray");
  const count = element("b", "", data.title);
  count.setAttribute("role", "status");
  const hands = data.hands.map((hand) => {
    const button = element("button", "hand");
    button.type = "button";
    button.title = button.ariaLabel = `Take off hand ${hand.id}`;
    button.onclick = () => setTriggerValue("taken", hand.id);
    if (hand.picture) {
      const picture = element("img");
      picture.src = hand.picture;
      picture.alt = "";
      button.append(picture);
    }
    return button;
  });
  tray.replaceChildren(count, ...hands);
  window.dispatchEvent(new CustomEvent("handsim-tray", { detail: { chosen: data.chosen, seen: data.seen } }));
}
