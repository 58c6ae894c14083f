// Refreshes #asof and #live from the page's own address, without touching scroll, focus, selection or open details.
// A list that could not be refreshed says so in #stale: an old list must never look like a live one.
"use strict";

const PERIOD_MS = 5000;
const TIMEOUT_MS = 10000;
const stale = document.getElementById("stale");
let refreshedAt = new Date();

async function load() {
  const search = document.getElementById("live").dataset.search;
  const answer = await fetch(location.href, {
    method: search ? "POST" : "GET",
    body: search ? new URLSearchParams({ search }) : undefined,
    cache: "no-store",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

function isSelecting(element) {
  const selection = getSelection();
  return !selection.isCollapsed && element.contains(selection.anchorNode);
}

function replace(live, next) {
  for (const details of live.querySelectorAll("details[id]")) {
    const same = next.querySelector(`#${CSS.escape(details.id)}`);
    if (same) same.open = details.open;
  }
  if (live.innerHTML === next.innerHTML) return;
  const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
  live.replaceChildren(...next.childNodes);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
}

async function refresh() {
  const live = document.getElementById("live");
  if (document.hidden || isSelecting(live)) return;
  try {
    const page = await load();
    replace(live, page.getElementById("live"));
    document.getElementById("asof").replaceChildren(...page.getElementById("asof").childNodes);
    refreshedAt = new Date();
    stale.hidden = true;
  } catch (error) {
    const message = `Not refreshed since ${refreshedAt.toLocaleTimeString()}: this page may be out of date. Read as usual.`;
    if (stale.hidden || stale.textContent !== message) stale.textContent = message;
    stale.hidden = false;
    console.warn(`refresh failed: ${error.message}`);
  }
}

async function keepRefreshing() {
  await refresh();
  setTimeout(keepRefreshing, PERIOD_MS);
}

setTimeout(keepRefreshing, PERIOD_MS);
document.addEventListener("visibilitychange", refresh);
