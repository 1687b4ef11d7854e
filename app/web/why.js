/** Why a photo is among the results, in words. */

import { text } from "./text.js";

const FACTORS = ["vote_factor", "unwanted_factor", "recency_factor", "diversity_factor"];

/** One line for each thing that made its score; none for a photo that answers no search. */
export function reasons({ why, relevance }) {
  if (!why) return [];
  const lines = [text.why.relevance(relevance), text.why.similarity(why.similarity)];
  if (why.text > 0) lines.push(text.why.words(why.text, why.text_fields));
  if (Math.abs(why.learned) >= 0.0005) lines.push(text.why.learned(why.learned));
  for (const name of FACTORS) if (Math.abs(why[name] - 1) >= 0.005) lines.push(text.why[name](why[name]));
  return lines;
}
