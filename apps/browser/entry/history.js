// What a visitor does is a step of the web browser's history. What the page adds to its address by itself, as when it
// restores what it was left with, belongs to the step before: else Back would lead to a page between the two.
if (!window.handsimHistory) {
  window.handsimHistory = true;
  let acted = false;
  for (const kind of ["pointerdown", "click", "keydown", "change", "drop", "popstate"]) {
    window.addEventListener(kind, () => (acted = true), true);
  }
  const push = window.history.pushState.bind(window.history);
  window.history.pushState = (...step) => {
    if (acted) push(...step);
    else window.history.replaceState(...step);
    acted = false;
  };
}
