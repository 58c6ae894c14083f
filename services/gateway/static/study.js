// The study page by single keys, without leaving it: the forms ask the API, and the page keeps itself fresh.
// What could not be saved says so in #failed; a page that could not be refreshed says so in #stale.
"use strict";

const PERIOD_MS = 5000;
const areKeysOn = document.body.dataset.keys === "on";
const texts = document.getElementById("texts").dataset;
const live = document.getElementById("live");
const failures = new Map(); // id of what was asked -> its name, and why the answer could not be saved
const underWay = new Map(); // form -> its answer, until the page shows it
let chosen = ""; // id; null where it is gone

const targets = () => [...live.querySelectorAll(".target[data-number]")];
const target = () => targets().find(one => one.id === chosen);

function say(words) {
  document.getElementById("said").textContent = words;
}

function choose(one, { focus = true } = {}) {
  if (!one) return;
  for (const each of targets()) each.toggleAttribute("data-chosen", each === one);
  if (chosen !== one.id && focus) say(`${texts.chosen}${texts.colon} ${nameOf(one)}`);
  chosen = one.id;
  if (focus) one.focus();
}

function chooseFirst() {
  const all = targets();
  choose(target() ?? all.find(one => Number(one.dataset.number) > 0) ?? all[0], { focus: false });
}

// No other takes the place of one that is gone: the next key would answer what nobody chose.
function chooseAgain() {
  if (chosen === "" || target()) return chooseFirst();
  if (chosen !== null) say(texts.gone);
  chosen = null;
}

function newId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, "0")).join("");
}

// As /studies/{uid}/verdicts reads the form, for the API.
function asked(form, button) {
  const fields = new FormData(form);
  const told = name => fields.get(name)?.trim() || null;
  const [answer, reason] = button.value.split(":");
  const body = { answer, reason: reason ?? null, comment: told("comment") ?? "", page: "study" };
  for (const name of ["verdict_id", "result_id", "tracking_uid", "undoes"]) body[name] = told(name);
  if (answer === "modify" || answer === "add") {
    const number = name => (told(name) === null ? null : Number(told(name)));
    body.lesion = { finding: told("finding") ?? "", long_axis_mm: number("long_axis_mm"), volume_ml: number("volume_ml") };
  }
  return body;
}

async function send(form, path, body) {
  const about = aboutOf(form);
  try {
    const answer = await fetch(`/api/studies/${texts.study}/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!answer.ok) throw new Error(refusal(form, await answer.json()) ?? answer.status);
    failures.delete(about.id);
    return true;
  } catch (error) {
    failures.set(about.id, `${nameOf(about)} (${error.message})`);
    return false;
  } finally {
    const failed = document.getElementById("failed");
    failed.textContent = [texts.notSaved, ...failures.values()].join(" ");
    failed.hidden = failures.size === 0;
  }
}

// What was taken for lost may have been kept: to answer again is then a verdict of its own.
function refusal(form, problem) {
  if (problem.code !== "other_answer") return problem.detail;
  form.elements.verdict_id.value = newId();
  return texts.earlierKept;
}

function submit(event) {
  const form = event.target;
  if (!form.matches("form.answer, form.finish")) return;
  event.preventDefault();
  if (underWay.has(form)) return;
  const sent = form.matches(".finish") ? finish(form) : give(form, event.submitter);
  underWay.set(form, sent.finally(() => underWay.delete(form)));
}

async function give(form, button) {
  if (!(await send(form, "verdicts", asked(form, button)))) return;
  // a repeated request is one verdict; the next one is another
  form.elements.verdict_id.value = newId();
  form.closest("details")?.toggleAttribute("open", false);
  form.reset();
  await refresh(form);
  // what was pressed may be gone
  if (document.activeElement === document.body) target()?.focus({ preventScroll: true });
  say(outcome(form, button.value.split(":")[0]));
}

// The document holds what is saved by then: nobody leaves before, nor with an answer that can be given again.
async function finish(form) {
  await Promise.all(underWay.values());
  failures.delete(aboutOf(form).id);
  if ([...failures.keys()].some(id => document.getElementById(id))) return say(texts.unfinished);
  if (!(await send(form, "verdicts/finished", {}))) return;
  say(texts.done);
  location.assign("/");
}

// What a form asks about: a lesion or the study, a lesion that was missed, whether all is answered.
function aboutOf(form) {
  return form.closest(".target, .add, .bar");
}

function nameOf(about) {
  return wordsOf(about.querySelector("h4, summary, button"));
}

// What was saved, and about what: "Saved: Rejected, Lesion 1".
function outcome(form, answer) {
  const about = aboutOf(form);
  const name = about.matches(".target") ? nameOf(about) : "";
  if (answer === "undo") return `${texts.undone}${texts.colon} ${name}`;
  const saved = `${texts.saved}${texts.colon} ${[JSON.parse(texts.answers)[answer], name].filter(Boolean).join(", ")}`;
  const shown = document.getElementById(about.id) ?? about;
  const unread = shown.dataset.number === "0" && shown.closest("article").querySelector(".newer-images");
  return unread ? `${saved}. ${unread.textContent}` : saved;
}

// Without the keys that stand in it.
function wordsOf(element) {
  return [...element.childNodes].filter(one => one.nodeName !== "KBD").map(one => one.textContent).join("").trim();
}

function openPanel() {
  return live.querySelector("details[data-key][open]");
}

function press(key) {
  const one = target();
  const found = key === "v" ? (one?.querySelector("a.view") ?? live.querySelector("a.open")) : null;
  if (found) return found.click();
  const within = key === "d" ? one?.closest("article") ?? live : key === "f" ? document : one;
  const control = within?.querySelector(`[data-key="${key}"]`);
  if (!control) return say(texts.noKey);
  if (control.tagName !== "DETAILS") return control.click();
  control.open = true;
  const panel = control.querySelector(".panel");
  panel.scrollIntoView({ block: "nearest" });
  panel.querySelector("button, select, input").focus();
}

function onKey(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || !areKeysOn) return;
  const panel = openPanel();
  if (event.key === "Escape" && panel) {
    panel.open = false;
    return choose(panel.closest(".target") ?? target());
  }
  if (event.target.matches("input, select, textarea") && event.target.type !== "checkbox") return;
  // a key that is held down answers once
  if (event.repeat && /^([0-9armnudfv]|Enter)$/.test(event.key)) return event.preventDefault();
  const reason = panel?.querySelector(`[data-reason="${CSS.escape(event.key)}"]`);
  if (reason) reason.click();
  else if (/^[0-9]$/.test(event.key)) choose(ofArticle(event.key));
  else if (event.target.matches(".target") && /^Arrow(Up|Down)$/.test(event.key)) step(event.key === "ArrowDown" ? 1 : -1);
  else if (/^[armnudfv]$/.test(event.key)) press(event.key);
  else return;
  event.preventDefault();
}

// Where several models answered, a number is of the result that is being answered to.
function ofArticle(number) {
  const all = targets().filter(one => one.dataset.number === number);
  return all.find(one => one.closest("article") === target()?.closest("article")) ?? all[0];
}

function step(by) {
  const all = targets();
  choose(all[Math.min(all.length - 1, Math.max(0, all.indexOf(target()) + by))]);
}

const sameButForIds = html => html.replace(/name="verdict_id" value="[0-9a-f]*"/g, "");

// The form that was answered just now must show it; another that is open or on its way stays as it is.
function isBusy(answered) {
  if (openPanel() || [...underWay.keys()].some(form => form !== answered)) return true;
  const selection = getSelection();
  return !answered && !selection.isCollapsed && live.contains(selection.anchorNode);
}

// What is open holds up what is new, but neither who is signed in nor, for long, that nothing new is shown.
async function refresh(answered = null) {
  if (document.hidden) return;
  try {
    const page = await load(location.pathname);
    // a colleague has signed in elsewhere: what is open here is no longer theirs to act on
    if (page.body.dataset.person !== document.body.dataset.person) return location.replace(location.pathname);
    if (isBusy(answered)) {
      if (Date.now() - refreshedAt > LONGEST_HOLD_MS) warn(texts.held);
      return;
    }
    compareForms(page);
    replace(page.getElementById("live"));
    document.getElementById("asof").replaceChildren(...page.getElementById("asof").childNodes);
    refreshedAt = Date.now();
    stale.hidden = true;
  } catch (error) {
    warn(stale.dataset[error.cause ?? "lost"]);
    console.warn(`refresh failed: ${error.message}`);
  }
}

function replace(next) {
  if (sameButForIds(live.innerHTML) === sameButForIds(next.innerHTML)) return;
  for (const details of live.querySelectorAll("details[id]:not([data-key])")) {
    const same = next.querySelector(`#${CSS.escape(details.id)}`);
    if (same) same.open = details.open;
  }
  const focused = live.contains(document.activeElement) ? document.activeElement : null;
  const at = focused?.id || focused?.closest(".target")?.id;
  live.replaceChildren(...next.childNodes);
  showKeys();
  chooseAgain();
  if (at) (document.getElementById(at) ?? target())?.focus({ preventScroll: true });
}

// They stand outside of #live, for what is half filled in stays: one that is no longer asked says so.
function compareForms(page) {
  for (const form of document.querySelectorAll(".blind")) form.querySelector(".over").hidden = page.getElementById(form.id) !== null;
  for (const form of page.querySelectorAll(".blind")) if (!document.getElementById(form.id)) live.before(form);
}

function showKeys() {
  for (const each of live.querySelectorAll(".keys")) each.hidden = !areKeysOn;
  live.toggleAttribute("data-no-keys", !areKeysOn);
}

async function keepRefreshing() {
  await refresh();
  setTimeout(keepRefreshing, PERIOD_MS);
}

document.addEventListener("submit", submit);
document.addEventListener("keydown", onKey);
document.addEventListener("visibilitychange", () => refresh());
live.addEventListener("focusin", event => choose(event.target.closest(".target[data-number]"), { focus: false }));
showKeys();
chooseFirst();
setTimeout(keepRefreshing, PERIOD_MS);
