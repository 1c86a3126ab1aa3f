// Adds what is ours to Locust's page, and looks again after each change: Locust builds its page anew as it likes.

import { markCharts } from "./marks.js";
import { offerChoices } from "./choices.js";
import { showService } from "./service.js";

const EVERY_MS = 500;
let last = null;

async function look() {
  try {
    const answer = await fetch("./service/state", { cache: "no-store" });
    if (answer.ok) last = await answer.json();
  } catch {
    // Locust itself has gone: its page says so.
  }
  build();
}

function build() {
  offerChoices();
  if (!last) return;
  showService(last);
  markCharts(last);
}

new MutationObserver(build).observe(document.getElementById("root"), { childList: true, subtree: true });
setInterval(look, EVERY_MS);
look();
