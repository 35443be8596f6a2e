import { listContentStems } from './words.ts';

/** Splits a text into sentences: each ends at a line's end, or at a stop, question or exclamation mark before white space. */
export function splitSentences(text: string): string[] {
  return text
    .split(/\n|(?<=[.!?])\s/)
    .map((sentence) => sentence.trim())
    .filter((sentence) => sentence !== '');
}

/** Finds the sentence that shares most words with a question, of equal ones the first; undefined if none shares any. */
export function findClosestSentence(text: string, question: string): string | undefined {
  const stems = listContentStems(question);
  let best: string | undefined;
  let most = 0;
  for (const sentence of splitSentences(text)) {
    const shared = [...listContentStems(sentence)].filter((word) => stems.has(word)).length;
    if (shared <= most) continue;
    best = sentence;
    most = shared;
  }
  return best;
}
