// Brings to life what also works without: buttons that copy, and one that prints.
"use strict";

(() => {
  function copying(button) {
    const label = button.textContent;
    button.hidden = false;
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.parentElement.querySelector("code").textContent);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Select it by hand";
      }
      setTimeout(() => { button.textContent = label; }, 2000);
    });
  }

  function enliven() {
    if (navigator.clipboard) document.querySelectorAll("[data-copy][hidden]").forEach(copying);
    for (const button of document.querySelectorAll("[data-print][hidden]")) {
      button.hidden = false;
      button.addEventListener("click", () => print());
    }
  }

  enliven();
  document.addEventListener("renewed", enliven);
})();
