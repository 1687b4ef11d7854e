/** Asks for an access key where the server wants one. The key is not kept: the browser gets a cookie in its place. */

import { addStyle } from "./dialogs.js";
import { text } from "./text.js";

let asking = null;

/** Reloads the page once somebody has signed in; until then it waits, however many ask. */
export function signIn() {
  asking ??= addStyle("/web/dialogs.css").then(() => new Promise(open));
  return asking;
}

/** The button is shown to whoever has signed in. */
export async function wireSignOut(button) {
  const session = await fetch("/session").then((answer) => answer.json(), () => ({}));
  button.hidden = !session.signed_in;
  button.addEventListener("click", async () => {
    await fetch("/session", { method: "DELETE" });
    location.assign("/");
  });
}

function open() {
  const dialog = document.body.appendChild(build());
  dialog.addEventListener("cancel", (event) => event.preventDefault()); // there is nothing to see without a key
  dialog.showModal();
}

function build() {
  const note = element("p", { id: "signin-note", className: "note", role: "alert" });
  const key = element("input", { type: "password", required: true, maxLength: 200, autocomplete: "current-password" });
  const label = element("label", {}, text.signIn.key, key);
  const submit = element("button", { className: "button solid" }, text.signIn.submit);
  const form = element("form", { method: "dialog" }, title(), element("p", {}, text.signIn.how), label, note, submit);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(key, note, submit);
  });
  const dialog = element("dialog", { id: "signin", className: "confirm signin" }, form);
  dialog.setAttribute("aria-labelledby", "signin-title");
  return dialog;
}

const title = () => element("h2", { id: "signin-title" }, text.signIn.title);

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

async function send(key, note, submit) {
  submit.disabled = true;
  const body = JSON.stringify({ key: key.value.trim() });
  const headers = { "Content-Type": "application/json" };
  try {
    const answer = await fetch("/session", { method: "POST", headers, body });
    if (answer.ok) return location.reload();
    note.textContent = (await answer.json()).detail;
  } catch {
    note.textContent = text.api.unreachable;
  }
  submit.disabled = false;
  key.select();
}
