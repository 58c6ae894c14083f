// A viewer waits behind the work list, its scripts read, and `v` shows it on a study at once. Each serves one study and is
// then thrown away, so that nothing of one patient can be seen with another. While it is shown, its address stands in the
// address bar: Back leaves it, and a reload opens the same study in a page of its own.
"use strict";

const START_AFTER_MS = 2000; // the list comes first, and whoever works in it
const REST_MS = 150;         // so long a study is selected before it is worth the server's work

const { title } = document.currentScript.dataset;
const titleOfList = document.title;
let frame = null;
let isShown = false;
let resting = null;

function planViewer() {
  setTimeout(() => (window.requestIdleCallback ?? setTimeout)(startViewer), START_AFTER_MS);
}

function startViewer() {
  frame = Object.assign(document.createElement("iframe"), { id: "viewer", title, inert: true, src: "/ohif/waiting" });
  document.body.append(frame);
}

// A study that is selected may be opened next: the server makes ready what is asked for first. It sends nothing of it.
function prepareView(address) {
  clearTimeout(resting);
  if (address) resting = setTimeout(() => fetch(address.replace("/view/", "/prepared/")).catch(() => {}), REST_MS);
}

// address: leads to the viewer's. Where none waits yet, or it leads somewhere else, the browser goes there.
async function openViewer(address) {
  const answer = frame?.contentWindow.vigieOpen && await fetch(address).catch(() => null);
  if (isShown) return;
  if (!answer?.ok || new URL(answer.url).pathname !== "/ohif/viewer") return location.assign(address);
  history.pushState({ isViewer: true }, "", answer.url);
  frame.contentWindow.vigieOpen(answer.url);
  cover(true);
  document.title = title;
  frame.focus();
}

function cover(isCovered) {
  isShown = isCovered;
  for (const each of document.body.children) each.inert = isCovered !== (each === frame);
  document.documentElement.classList.toggle("is-viewing", isCovered);
  dispatchEvent(new CustomEvent("vigie:covered", { detail: isCovered }));
}

function closeViewer() {
  cover(false);
  document.title = titleOfList;
  frame.remove();
  frame = null;
  planViewer();
}

addEventListener("popstate", (event) => {
  const isWanted = Boolean(event.state?.isViewer);
  if (isWanted === isShown) return;
  if (isWanted) location.reload();
  else if (frame.contentWindow.vigieMayLeave?.() ?? true) closeViewer();
  else history.forward();
});

// Keys are the viewer's while it is shown, even where the focus has left it: by Tab past its last button, or in the address bar.
addEventListener("keydown", (event) => {
  if (!isShown) return;
  const { contentDocument, contentWindow } = frame;
  frame.focus();
  const isTaken = !contentDocument.body.dispatchEvent(new contentWindow.KeyboardEvent(event.type, event));
  if (isTaken) event.preventDefault();
});

addEventListener("load", planViewer);
