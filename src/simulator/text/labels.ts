import { removeWordEnding, splitWords } from './words.ts';

export interface LabelRankingText {
  /** The text to label: the last thing that the user said. */
  text: string;
  /** Where labels may be described: the system prompt, descriptions in the schema. */
  descriptions: string;
}

/** Labels for texts that fit no other label. */
const FALLBACK_LABELS =
  /^(other|others|unknown|none|neutral|general|misc|miscellaneous|n\/?a|unclear|uncategori[sz]ed)$/i;

/** Words that are too common to distinguish descriptions of labels. */
const COMMON = new Set(
  'a an and are as at be by for i in is it me my of on or our so that the this to was we with you'.split(' '),
);

function splitIntoStems(text: string): Set<string> {
  return new Set(
    splitWords(text)
      .filter((word) => !COMMON.has(word))
      .map(removeWordEnding),
  );
}

/** @returns the words after a label's name on the same line, up to the next label */
function findLabelDescription(label: string, others: readonly string[], descriptions: string): string {
  const found: string[] = [];
  const lower = descriptions.toLowerCase();
  const name = label.toLowerCase();
  for (let at = lower.indexOf(name); at !== -1 && found.length < 5; at = lower.indexOf(name, at + name.length)) {
    // Match whole words only: `bill` must not match in `billing`.
    const isWhole = !/[\p{L}\p{N}_]/u.test(lower.charAt(at - 1) + lower.charAt(at + name.length));
    if (!isWhole) continue;
    const line = (descriptions.slice(at + name.length, at + name.length + 400).split('\n', 1)[0] ?? '').toLowerCase();
    const ends = others.map((other) => line.indexOf(other.toLowerCase())).filter((end) => end > 2);
    found.push(line.slice(0, Math.min(line.length, ...ends)));
  }
  return found.join(' ');
}

function countSharedStems(words: Set<string>, text: Set<string>): number {
  let count = 0;
  for (const word of words) if (text.has(word)) count++;
  return count;
}

/**
 * Ranks labels by what a text has in common with them, best first: words of the label itself count most, words of its
 * description less. Without anything in common a label like `other` comes first; among equals the earlier one.
 */
export function rankLabelsByText(labels: readonly string[], { text, descriptions }: LabelRankingText): string[] {
  const words = splitIntoStems(text);
  const evidence = descriptions.slice(0, 200_000);
  const scored = labels.map((label, index) => {
    const others = labels.length > 100 ? [] : labels.filter((other) => other !== label && other !== '');
    const described = label === '' || labels.length > 1000 ? '' : findLabelDescription(label, others, evidence);
    const score =
      4 * countSharedStems(splitIntoStems(label), words) + countSharedStems(splitIntoStems(described), words);
    return { label, index, score: score + (FALLBACK_LABELS.test(label) ? 0.5 : 0) };
  });
  return scored.toSorted((a, b) => b.score - a.score || a.index - b.index).map(({ label }) => label);
}
