// Loads the page anew once another server answers than the one that drew it: Streamlit connects to that one, and
// what is drawn by fragments does nothing any more. The address says the question, so that nothing is lost by it.
if (!window.handsimServer) {
  window.handsimServer = "asked for";
  setInterval(async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch("/started", { cache: "no-store" });
      const server = answer.ok ? await answer.text() : window.handsimServer;
      if (window.handsimServer !== "asked for" && server !== window.handsimServer) window.location.reload();
      window.handsimServer = server;
    } catch {
      // Away; Streamlit says so.
    }
  }, 2000);
}
