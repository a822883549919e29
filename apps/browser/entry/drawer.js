// On a narrow screen the names of the pages lie in a drawer over the page. It closes once one is chosen, and the
// focus goes from its link to the page's title.
if (!window.handsimDrawer) {
  window.handsimDrawer = true;
  document.addEventListener("click", (event) => {
    if (!event.target.closest?.('[data-testid="stSidebarNavLink"]')) return;
    // After Streamlit has heard of the click.
    setTimeout(() => {
      document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
      document.querySelector(".st-key-page_title h1")?.focus();
    });
  });
}
