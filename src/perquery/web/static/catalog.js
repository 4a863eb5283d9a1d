// Finds and sorts the rows of the list while one types; the server does the same by the query string.
"use strict";

(() => {
  const form = document.querySelector("[data-finder]");
  const body = document.querySelector("[data-rows]");
  const rows = [...body.rows].map((row) => ({
    row,
    text: row.cells[0].textContent.toLowerCase(),
    id: row.querySelector("code").textContent,
    can: row.dataset.can.split(" "),
    price: row.dataset.price === "" ? null : Number(row.dataset.price),
    context: Number(row.dataset.context),
    at: Number(row.dataset.at),
  }));
  const byId = (a, b) => (a.id < b.id ? -1 : 1);
  const orders = {
    name: byId,
    new: (a, b) => b.at - a.at || byId(a, b),
    cheap: (a, b) => (a.price ?? Infinity) - (b.price ?? Infinity) || byId(a, b),
    dear: (a, b) => (b.price ?? -1) - (a.price ?? -1) || byId(a, b),
    long: (a, b) => b.context - a.context || byId(a, b),
  };
  let order = form.elements.sort.value;

  function found(each, asked, words) {
    return words.every((word) => each.text.includes(word))
      && (!asked.by || asked.by === each.row.dataset.by)
      && (!asked.kind || asked.kind === each.row.dataset.kind)
      && (!asked.can || each.can.includes(asked.can))
      && (!asked.price || (each.price !== null && each.price <= Number(asked.price) * 1e12))
      && each.context >= Number(asked.context);
  }

  function find() {
    const asked = Object.fromEntries(new FormData(form));
    const words = asked.q.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const each of rows) {
      each.row.hidden = !found(each, asked, words);
      count += each.row.hidden ? 0 : 1;
    }
    if (asked.sort !== order) {
      order = asked.sort;
      body.append(...rows.sort(orders[order]).map((each) => each.row));
    }
    document.querySelector("[data-count]").textContent = count.toLocaleString("en");
    document.querySelector("[data-none]").hidden = count > 0;
    const named = new URLSearchParams(Object.entries(asked).filter(([name, value]) => value && !(name === "sort" && value === "name")));
    history.replaceState(null, "", named.size ? `?${named}` : location.pathname);
  }

  form.querySelector("[data-send]").hidden = true;
  form.addEventListener("input", find);
  form.addEventListener("submit", (event) => { event.preventDefault(); find(); });
})();
