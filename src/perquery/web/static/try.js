// Sends the requests of the API reference, and shows what comes as it comes.
"use strict";

(() => {
  function bring(form) {
    const [method, pattern] = form.dataset.try.split(" ");
    const [send, stop, said, answer] = ["[data-send]", "[data-stop]", "[data-said]", "[data-answer]"]
      .map((name) => form.querySelector(name));
    const code = answer.firstElementChild;
    let asked = null;

    function place() {
      let path = pattern;
      const query = new URLSearchParams();
      for (const { name, value, dataset } of form.querySelectorAll("[data-place]")) {
        if (dataset.place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value).replaceAll("%2F", "/"));
        else if (value) query.set(name, value);
      }
      return query.size ? `${path}?${query}` : path;
    }

    async function show(reply) {
      const kind = (reply.headers.get("content-type") ?? "").split(";")[0];
      if (kind === "text/event-stream") {
        const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let part = await reader.read(); !part.done; part = await reader.read()) code.append(part.value);
      } else if (kind === "application/json") {
        code.textContent = spaced(await reply.text());
      } else if (kind.startsWith("text/")) {
        code.textContent = await reply.text();
      } else {
        const file = await reply.blob();
        const link = document.createElement("a");
        link.href = URL.createObjectURL(file);
        link.download = kind.replace("/", ".");
        link.textContent = `${file.size} bytes of ${kind}`;
        code.append(link);
      }
    }

    // Read and written by JSON, but never where that would change a number.
    function spaced(text) {
      return /\d{16}|\d[eE]|0\.0{6}/.test(text) ? text : JSON.stringify(JSON.parse(text), null, 2);
    }

    async function go() {
      const began = performance.now();
      const body = form.elements.body?.value ?? (method === "POST" ? "{}" : undefined);
      asked = new AbortController();
      busy(true);
      code.replaceChildren();
      answer.hidden = true;
      said.textContent = "";
      let reply = null;
      const facts = [];
      try {
        reply = await asking.ask(method, place(), { body, signal: asked.signal });
        facts.push(String(reply.status));
        answer.hidden = false;
        await show(reply);
      } catch (error) {
        facts.push(error.name === "AbortError" ? "stopped" : error.message);
      }
      busy(false);
      asked = null;
      facts.push(`${((performance.now() - began) / 1000).toFixed(2)} s`);
      said.textContent = facts.join(" · ");
      const cost = reply && await paid(reply);
      if (cost !== null && cost !== undefined) said.textContent = [...facts, asking.dollars(cost)].join(" · ");
    }

    // What it cost: a plain answer says so itself, of a stream the receipt does.
    async function paid(reply) {
      const named = reply.headers.get("x-perquery-cost");
      const id = reply.headers.get("x-perquery-generation-id");
      if (named !== null) return asking.nano(named);
      return id && reply.ok ? asking.costOf(id) : null;
    }

    function busy(now) {
      send.disabled = now;
      stop.hidden = !now;
      answer.setAttribute("aria-busy", String(now));
    }

    form.hidden = false;
    form.addEventListener("submit", (event) => { event.preventDefault(); if (!asked) go(); });
    stop.addEventListener("click", () => asked?.abort());
  }

  document.querySelectorAll("[data-try]").forEach(bring);
})();
