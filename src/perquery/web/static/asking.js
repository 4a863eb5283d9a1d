// Asks the API for whoever is signed in, by /ask: answers, their streams, and what went wrong in words.
"use strict";

const asking = (() => {
  class Refused extends Error {
    constructor(status, message, code) {
      super(message);
      this.status = status;
      this.code = code;
    }
  }

  // What the visitor can do about it: a place and what it is called.
  const remedies = {
    401: ["/sign-in?next=" + encodeURIComponent(location.pathname), "Sign in again"],
    402: ["/top-up", "Top up"],
    503: ["/status", "How the upstreams do"],
  };

  // The API's answer, whatever it says. Throws where there is none.
  async function ask(method, path, { body, signal } = {}) {
    const headers = body === undefined ? {} : { "content-type": "application/json" };
    try {
      return await fetch("/ask" + path, { method, headers, body, signal, cache: "no-store" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The gateway does not answer. Look whether you are connected, and try again.");
    }
  }

  async function send(method, path, options) {
    const answer = await ask(method, path, options);
    if (answer.ok) return answer;
    throw refused(answer.status, await answer.json().catch(() => ({})));
  }

  function refused(status, body) {
    const error = body.error ?? {};
    return new Refused(status, error.message ?? `The gateway refused (${status}).`, error.code);
  }

  // The data of each event of a stream.
  async function* events(answer) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const lines = part.split("\n").filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(line[5] === " " ? 6 : 5)).join("\n");
      }
    }
  }

  // What a call cost by its receipt, nano-USD; it is there once the call is settled. null: not yet.
  async function costOf(id) {
    for (const wait of [300, 700, 1500, 3000, 6000, 12000]) {
      await new Promise((done) => { setTimeout(done, wait); });
      try {
        const answer = await send("GET", "/v1/generation?id=" + encodeURIComponent(id));
        return nano((await answer.json()).data.cost);
      } catch (error) {
        if (error.status !== 404) return null;
      }
    }
    return null;
  }

  // Amounts are whole nano-USD here: sums of fractions would not be exact.
  const nano = (usd) => Math.round(usd * 1e9);

  function dollars(amount) {
    const digits = String(amount).padStart(10, "0");
    const cents = digits.slice(-9).replace(/0+$/, "").padEnd(2, "0");
    return `$${digits.slice(0, -9)}.${cents}`;
  }

  // An error as something to show: its text, and where to go from there.
  function shown(error) {
    const box = document.createElement("div");
    box.className = "notice bad";
    const text = box.appendChild(document.createElement("p"));
    text.textContent = error.message;
    const remedy = remedies[error.status];
    if (remedy) {
      const link = document.createElement("a");
      [link.href, link.textContent] = remedy;
      text.append(" ", link);
    }
    return box;
  }

  return { Refused, ask, send, events, refused, costOf, nano, dollars, shown };
})();
