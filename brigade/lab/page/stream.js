// Follows the workers' events from whichever worker answers, for as long as somebody looks at the page.

const RETRY_MS = 2000;

/** @param {{plan, workers, work, connection}} on  One function for each kind of event, and one for "live" | "lost" | "asleep". */
export function follow(on) {
  let source = null;
  let retry = 0;

  function open() {
    clearTimeout(retry);
    source?.close();
    source = new EventSource("lab/events");
    source.onopen = () => on.connection("live");
    source.onerror = () => {
      on.connection("lost");
      // It reconnects by itself after a cut, but not after a refusal.
      if (source.readyState === EventSource.CLOSED) retry = setTimeout(open, RETRY_MS);
    };
    for (const kind of ["plan", "workers", "work"]) {
      source.addEventListener(kind, (event) => on[kind](JSON.parse(event.data)));
    }
  }

  function close() {
    clearTimeout(retry);
    source?.close();
    source = null;
    on.connection("asleep");
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  if (!document.hidden) open();
}
