/** Votes on results: given, changed, taken back. A result carries its own (`vote`, `feedback_id`). */

import { addVote, removeVote } from "./api.js";
import { idOf } from "./cards.js";

const busy = new WeakSet();

/** Gives a vote on an answer, or takes the same one back. → whether anything has changed */
export async function vote(photo, { query, query_id }, value) {
  if (busy.has(photo)) return false;
  busy.add(photo);
  try {
    const before = photo.feedback_id ?? null;
    const again = photo.vote === value;
    if (!again) photo.feedback_id = (await addVote({ photo_id: idOf(photo), query, query_id, vote: value })).id;
    if (before !== null) await removeVote(before);
    if (again) photo.feedback_id = null;
    photo.vote = again ? 0 : value;
    return true;
  } finally {
    busy.delete(photo);
  }
}
