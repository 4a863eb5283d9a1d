// Keeps a checkout up to date: the seconds that are left, and the page anew when the invoice has changed.
"use strict";

(() => {
  let source = null;
  let waiting = null;

  function left() {
    const place = document.querySelector("[data-until]");
    if (!place) return;
    const seconds = Math.max(0, Math.floor((Number(place.dataset.until) - Date.now()) / 1000));
    const minutes = Math.floor(seconds / 60);
    place.textContent = seconds
      ? `Open for ${minutes}:${String(seconds % 60).padStart(2, "0")} more.`
      : "Its time is over.";
  }

  async function renew() {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
    if (!answer.ok) return;
    const next = new DOMParser().parseFromString(await answer.text(), "text/html");
    const now = document.getElementById("live");
    const fresh = next.getElementById("live");
    if (!fresh || now.innerHTML === fresh.innerHTML) return;
    const changed = now.dataset.state !== fresh.dataset.state;
    now.replaceWith(document.adoptNode(fresh));
    document.title = next.title;
    document.dispatchEvent(new Event("renewed"));
    if (changed) {
      document.getElementById("said").textContent = fresh.querySelector("h1").textContent;
      follow();
    }
    left();
  }

  function follow() {
    const place = document.getElementById("live").dataset.live;
    if (source) source.close();
    source = null;
    clearTimeout(waiting);
    if (!place) return;
    source = new EventSource(place);
    source.addEventListener("invoice", renew);
    source.onerror = () => {
      // A refusal ends the stream for good: look now and then.
      if (source && source.readyState === EventSource.CLOSED) waiting = setTimeout(() => renew().finally(follow), 5000);
    };
  }

  left();
  follow();
  setInterval(left, 1000);
})();
