// The keys of the assessment form (p, b, s, then Enter), and the end of its time.
"use strict";

const forms = [...document.querySelectorAll(".blind")];

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=radio]), select, textarea")) return;
  const here = event.target.closest(".blind") || forms[0];
  const answer = here && here.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!answer) return;
  answer.checked = true;
  answer.closest("form").querySelector("button").focus();
  event.preventDefault();
});

// a case of training has no end of its time
for (const each of forms.filter(one => one.dataset.until)) {
  const left = new Date(each.dataset.until) - Date.now();
  setTimeout(() => (each.querySelector(".over").hidden = false), Math.max(0, left));
}
