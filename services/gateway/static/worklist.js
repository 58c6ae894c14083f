// The work list by keyboard, its clocks, and taking studies without leaving the page. Without it, links and buttons do all.
"use strict";

const CHORD_MS = 1500;  // so long a g waits for what comes after it
const TOAST_MS = 8000;
const SLIP_MS = 700;    // so long a second tap is not meant for the study that came under the key

const list = document.getElementById("live");
const help = document.getElementById("help");
const taken = document.getElementById("taken");
const toast = document.getElementById("toast");
const news = document.getElementById("news");
const areKeysOn = document.body.dataset.keys === "on";
const ahead = Date.now() - Date.parse(list.dataset.now); // so far is this clock before the server's
let chosen = null;      // uid of the selected study
let position = 0;       // where it stood
let chord = 0;
let landedAt = 0;       // when the selection went to another study by itself
let undo = null;
let toastTimer = null;

const rows = () => [...list.querySelectorAll("tbody tr[data-uid]")];
const rowOf = (uid) => rows().find((row) => row.dataset.uid === uid);
const nameOf = (row) => row.querySelector("a.open").textContent.trim();

function mark(row) {
  for (const each of rows()) each.classList.toggle("selected", each === row);
  // of viewer-frame.js, which only who may see images has
  if (row && row.dataset.uid !== chosen) window.prepareView?.(row.dataset.view);
  chosen = row?.dataset.uid ?? null;
  if (row) position = rows().indexOf(row);
}

function select(row) {
  if (!row) return;
  mark(row);
  row.querySelector("a.open").focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function move(by) {
  const all = rows(), at = all.findIndex((row) => row.dataset.uid === chosen);
  select(at < 0 ? all[by > 0 ? 0 : all.length - 1] : all[Math.min(all.length - 1, Math.max(0, at + by))]);
}

function say(text, { onUndo = null } = {}) {
  clearTimeout(toastTimer);
  toast.querySelector("span").textContent = text;
  const button = toast.querySelector("button");
  button.hidden = !onUndo;
  button.textContent = list.dataset.undo;
  undo = onUndo;
  toast.hidden = false;
  toastTimer = setTimeout(() => { toast.hidden = true; undo = null; }, TOAST_MS);
}

async function act(uid, action, seen, { shown = "", onUndo = null, said = null } = {}) {
  const row = rowOf(uid), name = row ? `${nameOf(row)}${list.dataset.colon} ` : "";
  const words = { take: "taken", release: "released", read: "read", reopen: "reopened" };
  try {
    const answer = await fetch(`/studies/${uid}/reading`, {
      method: "POST",
      body: new URLSearchParams({ action, seen, shown }),
      headers: { Accept: "application/json" },
      redirect: "manual",
    });
    if (answer.type === "opaqueredirect" || answer.ok) say(said ?? name + list.dataset[words[action]], { onUndo });
    else say((await answer.json()).detail);
  } catch {
    say(list.dataset.failed);
  }
  dispatchEvent(new Event("vigie:changed"));
}

// A colleague's study is not touched by a slip of the finger: by key as by mouse, whose it is is asked about first.
async function mayTouch(row, action) {
  const { uid, reading, holder } = row.dataset;
  if (reading !== "taken" || "mine" in row.dataset) return true;
  const asks = { take: [list.dataset.askTake, list.dataset.doTake], read: [list.dataset.askRead, list.dataset.doRead] };
  const [question, words] = asks[action];
  taken.querySelector("p").textContent = question.replace("{name}", holder);
  taken.querySelector("[value=yes]").textContent = words;
  taken.returnValue = "";
  taken.showModal();
  await new Promise((answered) => { taken.addEventListener("close", answered, { once: true }); });
  // its button may be another one by now
  if (document.activeElement === document.body) select(rowOf(uid));
  return taken.returnValue === "yes";
}

// A key that is still held down must not answer what it asks.
taken.addEventListener("keydown", (event) => { if (event.repeat) event.preventDefault(); });

async function takeStudy(row) {
  const { uid, holder } = row.dataset;
  if (await mayTouch(row, "take")) act(uid, "take", holder, { onUndo: () => giveBack(uid, holder) });
}

async function markRead(row) {
  const { uid, holder } = row.dataset, shown = row.querySelector("[name=shown]").value;
  if (await mayTouch(row, "read")) act(uid, "read", holder, { shown, onUndo: () => act(uid, "reopen", "") });
}

// Nobody can take a study for a colleague: whose it was is told instead.
function giveBack(uid, holder) {
  return act(uid, "release", "", { said: holder ? list.dataset.nobodys.replace("{name}", holder) : null });
}

function takeOrRelease(row) {
  const { uid, reading, holder } = row.dataset;
  if (reading === "read") return say(list.dataset.ofRead.replace("{name}", holder));
  if (reading === "taken" && "mine" in row.dataset) return act(uid, "release", holder);
  return takeStudy(row);
}

function readOrReopen(row) {
  const { uid, reading, holder } = row.dataset;
  if (reading === "read") return act(uid, "reopen", holder);
  return markRead(row);
}

const onRow = {
  v: (row) => { if (row.dataset.view) openViewer(row.dataset.view); else row.querySelector("a.open").click(); },
  t: (row) => { if (row.querySelector("form.act")) takeOrRelease(row); },
  r: (row) => { if (row.querySelector("form.act")) readOrReopen(row); },
  Enter: (row) => row.querySelector("a.open").click(),
};

const anywhere = {
  j: () => move(1), ArrowDown: () => move(1),
  k: () => move(-1), ArrowUp: () => move(-1),
  "/": () => document.getElementById("search").focus(),
  "?": () => help.showModal(),
  z: () => { const back = undo; undo = null; toast.hidden = true; back?.(); },
};

const afterG = {
  g: () => { scrollTo(0, 0); select(rows()[0]); },
  l: () => { location.href = "/"; },
};

function isTyping(target) {
  return target.closest("input, select, textarea, [contenteditable]") !== null;
}

document.addEventListener("keydown", (event) => {
  // isCovered, of refresh.js: what is behind the viewer must not be answered to by mistake
  if (!areKeysOn || isCovered || help.open || taken.open || event.ctrlKey || event.altKey || event.metaKey) return;
  if (isTyping(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const wasChord = Date.now() - chord < CHORD_MS;
  chord = 0;
  if (wasChord && event.key in afterG) { event.preventDefault(); return afterG[event.key](); }
  if (event.key === "g") { chord = Date.now(); return; }
  // on a link or a button Enter is its own
  if (event.key === "Enter" && event.target.closest("a, button, summary")) return;
  const row = chosen && rowOf(chosen);
  if (row && event.key in onRow) {
    event.preventDefault();
    // a key held down, or tapped twice, must not answer for the next study
    if (/^[rt]$/.test(event.key) && (event.repeat || Date.now() - landedAt < SLIP_MS)) return;
    return onRow[event.key](row);
  }
  if (event.key in anywhere) { event.preventDefault(); anywhere[event.key](); }
});

list.addEventListener("focusin", (event) => {
  const row = event.target.closest("tr[data-uid]");
  if (row) mark(row);
});

list.addEventListener("submit", (event) => {
  const row = event.target.closest("tr[data-uid]");
  if (!row) return;
  event.preventDefault();
  const action = event.submitter.value, does = { take: takeStudy, read: markRead }[action];
  if (does) does(row);
  else act(row.dataset.uid, action, row.dataset.holder);
});

toast.querySelector("button").addEventListener("click", () => anywhere.z());

// back from the viewer
addEventListener("vigie:covered", (event) => { if (!event.detail) select(rowOf(chosen)); });

// A picture that cannot be made leaves its place, with its words.
list.addEventListener("error", (event) => {
  if (event.target.matches?.("img.key-image")) event.target.classList.add("is-missing");
}, true);

addEventListener("vigie:refreshed", (event) => {
  if (chosen) {
    const row = rowOf(chosen);
    if (row) mark(row);
    else {
      // what was selected has left the list: the study that took its place is next
      const next = rows()[Math.min(position, rows().length - 1)];
      landedAt = Date.now();
      if (document.activeElement === document.body) select(next); else mark(next);
    }
  }
  for (const row of rows()) {
    if (event.detail.known.has(row.id) && row.dataset.ai === seenAs.get(row.dataset.uid)) continue;
    const words = row.dataset.ai === "urgent" ? news.dataset.urgent : event.detail.known.has(row.id) ? null
      : row.dataset.priority === "stat" ? news.dataset.stat : null;
    if (words) news.textContent = words.replace("{name}", nameOf(row));
  }
  remember();
  tick();
});

const seenAs = new Map(); // uid -> what the AI said
function remember() {
  for (const row of rows()) seenAs.set(row.dataset.uid, row.dataset.ai);
}

function ageWords(seconds) {
  const minutes = Math.floor(seconds / 60), hours = Math.floor(seconds / 3600), days = Math.floor(seconds / 86400);
  if (minutes < 1) return `${seconds} s`;
  if (hours < 1) return `${minutes} min`;
  if (days < 1) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return list.dataset.days.replace("{days}", days).replace("{hours}", hours % 24);
}

function clockWords(seconds) {
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

function tick() {
  for (const [selector, name, words] of [["[data-age]", "age", ageWords], ["[data-clock]", "clock", clockWords]]) {
    for (const each of list.querySelectorAll(selector)) {
      const seconds = Math.max(0, Math.floor((Date.now() - ahead - Date.parse(each.dataset[name])) / 1000));
      const text = words(seconds);
      if (each.textContent !== text) each.textContent = text;
    }
  }
}

remember();
setInterval(tick, 1000);
const button = document.getElementById("help-button");
button.hidden = false;
button.addEventListener("click", () => help.showModal());
