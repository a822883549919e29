// Reloads the page once another server answers than the one that drew it: Streamlit connects to the new server,
// but fragments drawn by the old one no longer react. The address holds the question, so nothing is lost. Pages lie beside "started", below any base path.
if (!window.handsimServer) {
  const UNKNOWN = "unknown";
  window.handsimServer = UNKNOWN;
  setInterval(async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch("started", { cache: "no-store" });
      const server = answer.ok ? await answer.text() : window.handsimServer;
      if (window.handsimServer !== UNKNOWN && server !== window.handsimServer) window.location.reload();
      window.handsimServer = server;
    } catch {
      // The server is away; Streamlit says so.
    }
  }, 2000);
}
