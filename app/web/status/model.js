/** Which model searches use, how far a change of it is, and the form that asks for one. */

import { text } from "../text_status.js";
import { changeModel, rollBackModel } from "./requests.js";

const part = (name) => document.getElementById(`model-${name}`);

export function showModel(health) {
  const change = health.model_change;
  const now = text.modelNow(health.model, health.model_choice);
  const told = change && (change.state === "pending" ? text.modelChanging(change) : text.modelFailed(change));
  part("state").textContent = [now, told].filter(Boolean).join(" ");
  part("progress").hidden = change?.state !== "pending";
  part("progress").value = change?.total ? change.done / change.total : 0;
}

/** The key is sent, and kept nowhere. */
export function wireModelForm() {
  part("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const key = document.getElementById("admin-key").value;
    const back = event.submitter?.value === "rollback";
    try {
      const change = await (back ? rollBackModel(key) : changeModel(part("name").value.trim(), key));
      part("answer").textContent = text.changeAccepted(change.model);
    } catch (error) {
      part("answer").textContent = error.message;
    }
  });
}
