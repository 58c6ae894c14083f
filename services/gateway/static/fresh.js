// What study.js and refresh.js share: the page as the server has it now, and that it could not be had.
"use strict";

const TIMEOUT_MS = 10000;
const LONGEST_HOLD_MS = 10000; // so long an open form or a selected text may hold up new results unsaid
const stale = document.getElementById("stale");
let refreshedAt = Date.now();

async function load(address) {
  const search = document.getElementById("live").dataset.search;
  const answer = await fetch(address, {
    method: search ? "POST" : "GET",
    body: search ? new URLSearchParams({ search }) : undefined,
    headers: { Accept: "text/html", "Vigie-Refresh": "1" }, // that a page is open keeps no session alive
    cache: "no-store",
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (!answer.ok && answer.status !== 401) throw new Error(`the server answered ${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  // what is answered then, the form to sign in or no page at all, must not pass for a fresh one
  if (!page.getElementById("live")) throw new Error("signed out", { cause: "signedOut" });
  return page;
}

function warn(words) {
  const text = words.replace("{time}", new Date(refreshedAt).toLocaleTimeString());
  if (stale.hidden || stale.textContent !== text) stale.textContent = text;
  stale.hidden = false;
}
