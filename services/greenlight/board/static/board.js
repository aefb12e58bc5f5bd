// What htmx needs to know of these pages. Everything works without it, too: pages are complete, and forms are forms.
(() => {
  "use strict";
  const live = document.getElementById("live");

  // A page that nobody looks at asks for nothing; once it is seen again it asks at once.
  document.addEventListener("htmx:confirm", (event) => {
    if (event.target.id === "main" && document.hidden) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => {
    const main = document.getElementById("main");
    if (!document.hidden && main && main.hasAttribute("hx-get")) htmx.trigger(main, "seen");
  });

  // What a person has opened stays open, and what is selected or typed stays as it is.
  const keeps = (element, name) => name === "open" && element.tagName === "DETAILS";
  if (window.Idiomorph) {
    Idiomorph.defaults.ignoreActiveValue = true;
    Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, element) => !keeps(element, name);
  }
  document.addEventListener("htmx:beforeSwap", (event) => {
    const selection = window.getSelection();
    const main = document.getElementById("main");
    if (selection && !selection.isCollapsed && main && main.contains(selection.anchorNode)) event.detail.shouldSwap = false;
  });

  // Whether what is shown is current.
  const say = (text, state) => {
    if (live) { live.className = `live ${state}`; live.querySelector("span").textContent = text; }
  };
  document.addEventListener("htmx:sendError", () => say("no connection", "lost"));
  document.addEventListener("htmx:responseError", (event) => {
    if (event.detail.xhr.status === 401) location.reload();
    else say("no answer", "lost");
  });
  document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) say("live", ""); });

  // Keys: / goes to the search field, a letter to a page.
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select")) return;
    if (event.key === "/") { event.preventDefault(); document.getElementById("find").focus(); }
    const goes = { b: "/", a: "/approvals", c: "/commits", t: "/activity" }[event.key];
    if (goes) location.assign(goes);
  });
})();
