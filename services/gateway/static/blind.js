// The keys of the assessment form (p, b, s, then Enter). When its time is over, study.js says.
"use strict";

document.addEventListener("keydown", event => {
  if (document.body.dataset.keys !== "on") return;
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=radio]), select, textarea")) return;
  // of several, the one that one is in
  const forms = document.querySelectorAll(".blind");
  const here = event.target.closest(".blind") ?? (forms.length === 1 ? forms[0] : null);
  const answer = here?.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!answer) return;
  answer.checked = true;
  answer.closest("form").querySelector("button").focus();
  event.preventDefault();
});
