// Follows the workers' events from whichever worker answers, for as long as somebody looks at the page.

const RETRY_MS = 2000;
const QUIET_MS = 1000; // the states of the workers come more often, unless the worker that tells them stands still

/** @param {{plan, workers, work, connection}} on  One function for each kind of event, and one for "live" | "lost" | "asleep". */
export function follow(on) {
  let source = null;
  let retry = 0;
  let tries = 0;
  let last = "";

  /**
   * Another worker may answer where one is quiet, but the browser may have a connection to that one left. If none answers,
   * a frozen server is asked less and less often.
   */
  function watch() {
    clearTimeout(retry);
    retry = setTimeout(() => {
      tries += 1;
      open();
    }, QUIET_MS * 2 ** Math.max(0, tries - 2));
  }

  function open() {
    watch();
    source?.close();
    source = new EventSource("lab/events");
    source.onopen = () => {
      on.connection("live");
      watch();
    };
    source.onerror = () => {
      on.connection("lost");
      watch();
      // It reconnects by itself after a cut, but not after a refusal.
      if (source.readyState === EventSource.CLOSED) {
        clearTimeout(retry);
        retry = setTimeout(open, RETRY_MS);
      }
    };
    for (const kind of ["plan", "workers", "work"]) {
      source.addEventListener(kind, (event) => {
        tries = 0;
        watch();
        if (kind === "work" && !isLater(event.lastEventId)) return;
        on[kind](JSON.parse(event.data));
      });
    }
  }

  /** A worker begins with the work of the last seconds, some of which another one has told. */
  function isLater(id) {
    const order = ([ms, count], [otherMs, otherCount]) => ms - otherMs || count - otherCount;
    if (last && order(id.split("-"), last.split("-")) <= 0) return false;
    last = id;
    return true;
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
