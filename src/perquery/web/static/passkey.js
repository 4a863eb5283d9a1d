// Passkeys: adds one to the account, and signs in with one. What the browser cannot do is not offered.
"use strict";

(() => {
  async function post(path, body) {
    const answer = await fetch(path, {
      method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body), cache: "no-store",
    });
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(said.error?.message ?? `The gateway refused (${answer.status}).`);
    return said;
  }

  async function add(form) {
    const said = await post("/account/passkeys/options", {});
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(said);
    const made = await navigator.credentials.create({ publicKey });
    await post("/account/passkeys", { name: form.elements.name.value, credential: made.toJSON() });
    location.reload();
  }

  async function signIn(form) {
    const said = await post("/sign-in/passkey/options", {});
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(said);
    const shown = await navigator.credentials.get({ publicKey });
    const { next } = await post("/sign-in/passkey", { next: form.dataset.next, credential: shown.toJSON() });
    location.assign(next);
  }

  // Browsers say the same of a cancel, of no answer and of no passkey.
  function words(error) {
    if (error.name === "NotAllowedError") return "No passkey was chosen in time.";
    if (error.name === "InvalidStateError") return "This device has a passkey for this account already.";
    return error.message;
  }

  if (!window.PublicKeyCredential?.parseRequestOptionsFromJSON) return;
  for (const form of document.querySelectorAll("[data-passkey]")) {
    const act = form.dataset.passkey === "add" ? add : signIn;
    const button = form.querySelector("button");
    form.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      const trouble = form.querySelector("[data-trouble]");
      trouble.replaceChildren();
      try {
        await act(form);
      } catch (error) {
        const box = document.createElement("div");
        box.className = "notice bad";
        box.textContent = words(error);
        trouble.append(box);
      } finally {
        button.disabled = false;
      }
    });
  }
})();
