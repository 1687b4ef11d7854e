/** A short message at the lower edge, with one thing that can be done about it. */

const LASTS_MS = 8000;

const place = document.getElementById("toast");
const [message, button] = place.children;
let timer;

/** `action` is {label, run}. It stays while the pointer or the focus is on it. */
export function toast(words, action = null) {
  (document.querySelector("dialog[open]") ?? document.body).append(place); // what a dialog covers cannot be pressed
  message.textContent = words;
  button.hidden = !action;
  button.textContent = action?.label ?? "";
  button.onclick = () => {
    hide();
    action.run();
  };
  place.classList.add("shown");
  wait();
}

function wait() {
  clearTimeout(timer);
  timer = setTimeout(() => (place.matches(":hover, :focus-within") ? wait() : hide()), LASTS_MS);
}

function hide() {
  clearTimeout(timer);
  place.classList.remove("shown");
}
