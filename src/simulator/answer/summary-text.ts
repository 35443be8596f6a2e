import { textOf } from '../request/content-blocks.ts';
import type { JsonObject } from '../request/json.ts';
import type { RequestMessage } from '../request/message-request.ts';
import { sentencesOf } from '../text/sentences.ts';
import { countTokens } from '../text/tokens.ts';

/** What a sentence is kept for, however little room there is. */
const KEPT_FOR = /\b(remember|important|always|never)\b/i;
/** Sentences without a mark may take this part of what is summarized, and at least so many tokens. */
const PART_OF_REST = 0.25;
const LEAST_OF_REST = 50;
/** What is said where nothing was said in words, since a summary is never empty. */
const WORDLESS = 'Nothing was said in words.';

/** @returns what a block says; nothing for thinking, calls, pictures and documents, which a summary does not carry */
function textIn(block: JsonObject): string {
  return block.type === 'text' || block.type === 'tool_result' || block.type === 'compaction' ? textOf(block) : '';
}

/**
 * Finds the sentences that may be kept, each once, in the order in which they were last said: those with a mark, the first of each
 * message, and those of an earlier summary.
 *
 * @returns whether each has a mark
 */
function candidates(messages: readonly RequestMessage[]): Map<string, boolean> {
  const found = new Map<string, boolean>();
  for (const { blocks } of messages) {
    let isFirst = true;
    for (const block of blocks) {
      for (const sentence of sentencesOf(textIn(block))) {
        const isMarked = KEPT_FOR.test(sentence);
        if (isMarked || isFirst || block.type === 'compaction') {
          found.delete(sentence);
          found.set(sentence, isMarked);
        }
        isFirst = false;
      }
    }
  }
  return found;
}

/**
 * Writes a summary: a selection of the sentences that were said, newest last, a line each. Those with `remember`, `important`,
 * `always` or `never` are all kept, in any case of letters; of the first sentences of the messages and the rest of an
 * earlier summary the newest, as far as there is room.
 *
 * @param mostTokens the most tokens that it shall have; the marked sentences alone may have more
 */
export function summaryText(messages: readonly RequestMessage[], mostTokens: number): string {
  const found = candidates(messages);
  const tokens = new Map([...found.keys()].map((sentence) => [sentence, countTokens(sentence) + 1]));
  const sizeOf = (sentence: string): number => tokens.get(sentence) ?? 0;
  const marked = [...found].filter(([, isMarked]) => isMarked).map(([sentence]) => sentence);
  const total = messages.flatMap(({ blocks }) => blocks).reduce((sum, block) => sum + countTokens(textIn(block)), 0);
  const chosen = new Set(marked);
  const left = mostTokens - marked.reduce((sum, sentence) => sum + sizeOf(sentence), 0);
  let rest = Math.min(left, Math.max(LEAST_OF_REST, total * PART_OF_REST));
  for (const [sentence, isMarked] of [...found].reverse()) {
    if (isMarked || sizeOf(sentence) > rest) continue;
    rest -= sizeOf(sentence);
    chosen.add(sentence);
  }
  return [...found.keys()].filter((sentence) => chosen.has(sentence)).join('\n') || WORDLESS;
}
