// Keeps a page fresh from its own address: when the server says that something happened (/events), and every few seconds
// while it cannot. Scroll, focus, selection and open details stay as they are; rows of a table are replaced one by one.
// A page that could not be refreshed says so in #stale: an old list must never look like a live one.
"use strict";

const AFTER_MS = 150;         // several changes at once are one refresh
const APART_MS = 1000;        // two refreshes are so far apart, at least
const POLL_MS = 5000;         // without word from the server
const SILENT_MS = 15000;      // then the server is taken for lost: it says every 5 s that it is there

const address = location.pathname + location.search; // what stands in the address bar may be the viewer's
const told = new Map(); // id of a row -> its HTML as the server gave it last
let heardAt = 0;            // when the server spoke last
let newest = document.querySelector("[data-newest]")?.dataset.newest ?? null;
let planned = null;
let heldSince = null;
let events = null;
let isCovered = false; // by the viewer

const isSeen = () => !document.hidden && !isCovered;
const regions = (page) => [...page.querySelectorAll("[data-live], #live")];

function isSelecting() {
  const selection = getSelection();
  return !selection.isCollapsed && regions(document).some((region) => region.contains(selection.anchorNode));
}

function keepOpen(live, next) {
  for (const details of live.querySelectorAll("details[id]")) {
    const same = next.querySelector(`#${CSS.escape(details.id)}`);
    if (same) same.open = details.open;
  }
}

// The rows of `next` in its order: those that did not change stay the nodes they are.
function replaceRows(body, next) {
  const before = new Map([...body.children].map((row) => [row.id, row]));
  const rows = [...next.children].map((row) => {
    const html = row.outerHTML, same = before.get(row.id);
    if (same && told.get(row.id) === html) return same;
    told.set(row.id, html);
    row.classList.toggle("is-new", !same);
    if (same?.classList.contains("selected")) row.classList.add("selected");
    return row;
  });
  rows.forEach((row, index) => { if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null); });
  while (body.children.length > rows.length) body.lastElementChild.remove();
}

function replace(live, next) {
  const body = live.querySelector("tbody tr[id]")?.parentElement, rows = next.querySelector("tbody tr[id]")?.parentElement;
  if (body && rows) {
    replaceRows(body, rows);
    for (const part of ["nav.pages", "caption"]) {
      const [old, fresh] = [live.querySelector(part), next.querySelector(part)];
      if (old && fresh) { if (old.innerHTML !== fresh.innerHTML) old.replaceChildren(...fresh.childNodes); }
      else if (old) old.remove();
      else if (fresh) live.append(fresh);
    }
    return;
  }
  keepOpen(live, next);
  if (live.innerHTML !== next.innerHTML) live.replaceChildren(...next.childNodes);
}

// The row that the eye is on: the selected one, else the first that is wholly in sight.
function anchor() {
  const inSight = (row) => { const box = row.getBoundingClientRect(); return box.top >= 0 && box.bottom <= innerHeight; };
  const rows = [...document.querySelectorAll("#live tbody tr[id]")];
  const selected = rows.find((row) => row.classList.contains("selected"));
  return selected && inSight(selected) ? selected : rows.find(inSight);
}

function take(page) {
  const focused = document.activeElement?.id ?? "";
  const eye = scrollY > 0 ? anchor() : undefined;
  const top = eye?.getBoundingClientRect().top;
  const known = new Set([...document.querySelectorAll("#live tbody tr[id]")].map((row) => row.id));
  for (const region of regions(document)) {
    const next = page.getElementById(region.id);
    if (next) replace(region, next);
  }
  if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus({ preventScroll: true });
  const same = eye && document.getElementById(eye.id);
  if (same) scrollBy(0, same.getBoundingClientRect().top - top);
  document.getElementById("asof").replaceWith(page.getElementById("asof"));
  document.title = page.title;
  newest = page.querySelector("[data-newest]")?.dataset.newest ?? newest;
  dispatchEvent(new CustomEvent("vigie:refreshed", { detail: { known } }));
}

async function refresh() {
  planned = null;
  if (!isSeen()) return;
  if (isSelecting()) {
    heldSince ??= Date.now();
    if (Date.now() - heldSince > LONGEST_HOLD_MS) warn(stale.dataset.held);
    plan(APART_MS);
    return;
  }
  heldSince = null;
  try {
    const page = await load(address);
    if (!isSeen()) return;
    // a colleague has signed in elsewhere: what is open here is no longer theirs to act on
    if (page.body.dataset.person !== document.body.dataset.person) return location.replace(address);
    if (isSelecting()) return plan(APART_MS);
    take(page);
    refreshedAt = Date.now();
    stale.hidden = true;
  } catch (error) {
    warn(stale.dataset[error.cause ?? "lost"]);
    console.warn(`refresh failed: ${error.message}`);
    plan(POLL_MS);
  }
}

function plan(afterMs) {
  const at = Math.max(Date.now() + afterMs, refreshedAt + APART_MS);
  if (planned && planned.at <= at) return;
  if (planned) clearTimeout(planned.timer);
  planned = { at, timer: setTimeout(refresh, at - Date.now()) };
}

// Only a page that is seen listens: a browser has few connections to one server, and more pages than that may be open.
function listen() {
  if (!("EventSource" in window) || !isSeen() || events) return;
  events = new EventSource("/events");
  events.addEventListener("newest", (event) => {
    heardAt = Date.now();
    const number = JSON.parse(event.data).newest;
    document.documentElement.dataset.live = number === null ? "away" : "on";
    if (number === null) warn(stale.dataset.lost);
    else if (String(number) !== newest || !stale.hidden) plan(AFTER_MS);
  });
  events.addEventListener("error", () => {
    document.documentElement.dataset.live = "off";
    plan(0); // is it gone, or only the stream?
    // a server that refuses is not asked again by the browser itself
    if (events?.readyState === EventSource.CLOSED) {
      events = null;
      setTimeout(listen, POLL_MS);
    }
  });
}

function hush() {
  events?.close();
  events = null;
}

function keepWatch() {
  if (isSeen() && Date.now() - heardAt > SILENT_MS) {
    document.documentElement.dataset.live = "off";
    if (Date.now() - refreshedAt > POLL_MS) plan(0);
  }
  setTimeout(keepWatch, 1000);
}

for (const row of document.querySelectorAll("#live tbody tr[id]")) told.set(row.id, row.outerHTML);
listen();
setTimeout(keepWatch, POLL_MS);
function wakeOrRest() {
  if (!isSeen()) return hush();
  listen();
  plan(0);
}

document.addEventListener("visibilitychange", wakeOrRest);
addEventListener("vigie:covered", (event) => {
  isCovered = event.detail;
  wakeOrRest();
});
addEventListener("pagehide", hush);
addEventListener("pageshow", listen);
addEventListener("vigie:changed", () => { refreshedAt = 0; plan(0); });
