// Menus (details.menu) close by Escape and by a click beside them. The focus goes back to their button, unless the click
// has given it to something else.
"use strict";

function closeMenu(menu) {
  menu.open = false;
  return menu.querySelector("summary");
}

const openMenus = () => [...document.querySelectorAll("details.menu[open]")];

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  const [menu] = openMenus();
  if (!menu) return;
  closeMenu(menu).focus();
  event.stopImmediatePropagation(); // one Escape closes one thing
}, true);

document.addEventListener("click", (event) => {
  for (const menu of openMenus()) {
    if (menu.contains(event.target)) continue;
    const { activeElement } = document;
    const isFree = menu.contains(activeElement) || activeElement.tabIndex < 0;
    const button = closeMenu(menu);
    if (isFree) button.focus({ preventScroll: true });
  }
});
