// A button that opens a container of the page as a sheet. Only small screens show it (page.css).

export default function ({ data, parentElement }) {
  const button = parentElement.querySelector("button");
  const find = () => document.querySelector(`.st-key-${data.opens}`);
  const isOpen = () => button.ariaExpanded === "true";
  const show = (open) => {
    button.ariaExpanded = String(open);
    find()?.toggleAttribute("data-open", open);
  };
  button.textContent = data.label;
  button.onclick = () => show(!isOpen());
  show(isOpen()); // the page may have made the container anew

  const onKey = (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || !isOpen()) return;
    show(false);
    button.focus();
  };
  const onPress = (event) => {
    const path = event.composedPath();
    // Lists and tooltips of what lies in the sheet are drawn outside of the page's main part.
    const isPage = path.some((node) => node.classList?.contains("stMain"));
    if (isOpen() && isPage && !path.includes(button) && !path.includes(find())) show(false);
  };
  document.addEventListener("keydown", onKey);
  document.addEventListener("click", onPress);
  return () => {
    document.removeEventListener("keydown", onKey);
    document.removeEventListener("click", onPress);
  };
}
