// Conversations with models. They are kept in this browser, a conversation under each name in localStorage. What a
// model says is only ever put in as text.
"use strict";

(() => {
  const place = document.querySelector("[data-playground]");
  if (!place) return;
  const find = (name) => place.querySelector(name);
  const [model, talks, system, said] = ["#model", "#talk", "#system", "#said"].map(find);
  const [turns, trouble, form, total] = ["[data-turns]", "[data-trouble]", "[data-form]", "[data-total]"].map(find);
  const [send, stop, remove, removeAll] = ["[data-send]", "[data-stop]", "[data-delete]", "[data-delete-all]"].map(find);
  const status = document.querySelector("[data-status]");
  const signedIn = "signedIn" in place.dataset;
  const PREFIX = "perquery.talk.";
  let talk = fresh();
  let asked = null; // what ends the answer that is being written

  // -- kept conversations

  function fresh() {
    return { id: Date.now().toString(36) + Math.random().toString(36).slice(2, 8), at: Date.now(), turns: [] };
  }

  function kept() {
    const found = [];
    for (const name of Object.keys(localStorage).filter((each) => each.startsWith(PREFIX))) {
      try {
        const one = JSON.parse(localStorage.getItem(name));
        if (PREFIX + one.id === name && Array.isArray(one.turns)) found.push(one);
      } catch { /* not ours to read */ }
    }
    return found.sort((a, b) => b.at - a.at);
  }

  function keep() {
    talk.model = model.value;
    talk.system = system.value;
    talk.at = Date.now();
    try {
      localStorage.setItem(PREFIX + talk.id, JSON.stringify(talk));
    } catch {
      trouble.replaceChildren(asking.shown(new Error("This browser has no room to keep the conversation; delete older ones.")));
    }
    list();
  }

  function list() {
    const found = kept();
    const named = found.map((each) => new Option(each.turns[0]?.text.slice(0, 60) || "Untitled", each.id));
    talks.replaceChildren(new Option("New conversation", ""), ...named);
    talks.value = found.some((each) => each.id === talk.id) ? talk.id : "";
    remove.disabled = talks.value === "";
    removeAll.disabled = found.length === 0;
  }

  function open(one) {
    talk = one;
    if (one.model) model.value = one.model;
    system.value = one.system ?? "";
    trouble.replaceChildren();
    turns.replaceChildren(...talk.turns.map(written));
    sum();
    priced();
    list();
    settle();
  }

  // -- what is shown

  function priced() {
    const option = [...document.querySelectorAll("#models option")].find((each) => each.value === model.value);
    const { in: input, out: output } = option?.dataset ?? {};
    find("#model-hint").textContent = option
      ? `${option.textContent}: ${input} for a million tokens in, ${output} out`
      : "No model is called exactly so; choose one of the list.";
  }

  function sum() {
    const costs = talk.turns.map((turn) => turn.cost ?? 0);
    const spent = costs.reduce((one, other) => one + other, 0);
    total.textContent = costs.length ? `This conversation: ${asking.dollars(spent)}` : "";
  }

  function element(name, text, kind) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  }

  function written(turn) {
    const item = element("li", undefined, turn.role);
    item.append(element("h2", turn.role === "user" ? "You" : turn.model, "label"));
    if (turn.thought) {
      const more = item.appendChild(element("details"));
      more.append(element("summary", "What it thought"), element("p", turn.thought, "words"));
    }
    item.append(...blocks(turn.text));
    if (turn.role === "assistant") item.append(facts(turn));
    return item;
  }

  // Code between lines of three backticks stands apart; the rest is as it was written.
  function blocks(text) {
    return text.split(/^```/m).map((part, number) => {
      if (number % 2 === 0) return part.trim() ? element("p", part.trim(), "words") : "";
      const box = element("pre");
      box.tabIndex = 0;
      box.append(element("code", part.slice(part.indexOf("\n") + 1).trimEnd()));
      return box;
    });
  }

  function facts(turn) {
    const line = element("p", undefined, "hint");
    const known = [];
    if (turn.stopped) known.push("stopped");
    if (turn.cost !== undefined) known.push(asking.dollars(turn.cost));
    if (turn.counts) known.push(`${turn.counts[0]} tokens in, ${turn.counts[1]} out`);
    line.append(known.join(" · "));
    if (turn.id) {
      const link = element("a", "receipt");
      link.href = "/account/calls/" + encodeURIComponent(turn.id);
      line.append(known.length ? " · " : "", link);
    }
    return line;
  }

  // -- asking

  async function ask() {
    const text = said.value.trim();
    if (!text || asked || !signedIn) return;
    const answer = { role: "assistant", model: model.value, text: "", thought: "" };
    talk.turns.push({ role: "user", text });
    const item = turns.appendChild(written(talk.turns.at(-1)));
    said.value = "";
    const live = turns.appendChild(element("li", undefined, "assistant"));
    const words = element("p", "", "words");
    live.append(element("h2", answer.model, "label"), words);
    live.setAttribute("aria-busy", "true");
    item.scrollIntoView();
    const failed = await receive(answer, words);
    if (answer.id) {
      live.replaceWith(written(answer));
      keep();
      sum();
    } else { // nothing came: as it was, to be sent again
      talk.turns.pop();
      said.value = said.value || text;
      item.remove();
      live.remove();
    }
    if (failed) trouble.replaceChildren(asking.shown(failed));
    status.textContent = failed ? "" : `The answer is complete. ${answer.cost === undefined ? "" : asking.dollars(answer.cost)}`;
    settle();
  }

  // What was stopped or broke is settled too, a little later: its cost is on its receipt.
  async function settle() {
    const { id, turns: all } = talk;
    for (const { id: call } of all.filter((turn) => turn.id && turn.cost === undefined)) {
      const cost = await asking.costOf(call);
      const now = talk.id === id ? talk : kept().find((each) => each.id === id);
      const turn = now?.turns.find((each) => each.id === call);
      if (cost === null || !turn) continue; // it may have been deleted meanwhile
      turn.cost = cost;
      localStorage.setItem(PREFIX + id, JSON.stringify(now));
      if (now !== talk || asked) continue;
      turns.replaceChildren(...talk.turns.map(written));
      sum();
    }
  }

  // The answer as it comes; what went wrong, or null.
  async function receive(answer, words) {
    const messages = talk.turns.filter((turn) => turn.text).map(({ role, text: content }) => ({ role, content }));
    if (system.value.trim()) messages.unshift({ role: "system", content: system.value });
    asked = new AbortController();
    busy(true);
    trouble.replaceChildren();
    try {
      const body = JSON.stringify({ model: answer.model, messages, stream: true, stream_options: { include_usage: true } });
      const reply = await asking.send("POST", "/v1/chat/completions", { body, signal: asked.signal });
      answer.id = reply.headers.get("x-perquery-generation-id");
      talk.turns.push(answer);
      for await (const data of asking.events(reply)) {
        if (data !== "[DONE]") take(answer, JSON.parse(data), words);
      }
      return null;
    } catch (error) {
      answer.stopped = error.name === "AbortError";
      if (answer.stopped && answer.id) return null;
      if (answer.stopped) return new Error("Stopped before an answer came. Whether it cost anything is in your account's calls.");
      return error instanceof asking.Refused ? error : new Error("The connection broke. What came is charged as its receipt says.");
    } finally {
      asked = null;
      busy(false);
    }
  }

  function take(answer, chunk, words) {
    if (chunk.error) throw asking.refused(chunk.error.status ?? 0, chunk);
    const delta = chunk.choices?.[0]?.delta ?? {};
    answer.thought += delta.reasoning ?? delta.reasoning_content ?? "";
    if (delta.content) {
      if (!answer.text) words.textContent = "";
      answer.text += delta.content;
      words.append(delta.content);
    } else if (answer.thought && !answer.text) {
      words.textContent = "Thinking…";
    }
    if (chunk.usage) {
      answer.cost = asking.nano(chunk.usage.cost);
      answer.counts = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens];
    }
  }

  function busy(now) {
    send.disabled = now || !signedIn;
    stop.hidden = !now;
    for (const each of [talks, remove, removeAll]) each.disabled = now;
    if (!now) list();
  }

  // -- hands

  form.addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  said.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      ask();
    }
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") asked?.abort(); });
  stop.addEventListener("click", () => { asked?.abort(); said.focus(); });
  model.addEventListener("focus", () => model.select()); // the list offers what matches, so typing begins anew
  model.addEventListener("input", priced);
  addEventListener("pagehide", () => { if (asked && talk.turns.at(-1).id) keep(); });
  talks.addEventListener("change", () => open(kept().find((each) => each.id === talks.value) ?? fresh()));
  remove.addEventListener("click", () => {
    localStorage.removeItem(PREFIX + talk.id);
    open(fresh());
    said.focus();
  });
  removeAll.addEventListener("click", () => {
    if (!confirm("Delete all conversations of this browser?")) return;
    for (const each of kept()) localStorage.removeItem(PREFIX + each.id);
    open(fresh());
    said.focus();
  });

  place.hidden = false;
  const latest = "asked" in place.dataset ? null : kept()[0];
  open(latest ?? talk);
})();
