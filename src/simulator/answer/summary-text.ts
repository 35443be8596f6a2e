import type { JsonObject } from '../../api-rules/json.ts';
import { getBlockText } from '../request/content-blocks.ts';
import type { RequestMessage } from '../request/message-request.ts';
import { splitSentences } from '../text/sentences.ts';
import { estimateTokenCount } from '../text/tokens.ts';

/** The words for which a sentence is kept, however few tokens there are. */
const IMPORTANT_WORDS = /\b(remember|important|always|never)\b/i;
/** Sentences without a mark may take this part of what is summarized, and at least so many tokens. */
const UNMARKED_SHARE = 0.25;
const MIN_UNMARKED_TOKENS = 50;
/** The summary of a conversation without text, because a summary is never empty. */
const EMPTY_SUMMARY = 'Nothing was said in words.';

/** @returns the text of a block; empty for thinking, calls, images and documents, which a summary does not contain */
function getSummarizableText(block: JsonObject): string {
  return block.type === 'text' || block.type === 'tool_result' || block.type === 'compaction'
    ? getBlockText(block)
    : '';
}

/**
 * Finds the sentences that may be kept, each once, in the order in which they were last said: those with a mark, the first of each
 * message, and those of an earlier summary.
 *
 * @returns whether each has a mark
 */
function collectSummarySentences(messages: readonly RequestMessage[]): Map<string, boolean> {
  const found = new Map<string, boolean>();
  for (const { blocks } of messages) {
    let isFirst = true;
    for (const block of blocks) {
      for (const sentence of splitSentences(getSummarizableText(block))) {
        const isMarked = IMPORTANT_WORDS.test(sentence);
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
 * earlier summary the newest, as far as they fit.
 *
 * @param mostTokens the most tokens that it shall have; the marked sentences alone may have more
 */
export function composeSummary(messages: readonly RequestMessage[], mostTokens: number): string {
  const found = collectSummarySentences(messages);
  const tokens = new Map([...found.keys()].map((sentence) => [sentence, estimateTokenCount(sentence) + 1]));
  const countSentenceTokens = (sentence: string): number => tokens.get(sentence) ?? 0;
  const marked = [...found].filter(([, isMarked]) => isMarked).map(([sentence]) => sentence);
  const total = messages
    .flatMap(({ blocks }) => blocks)
    .reduce((sum, block) => sum + estimateTokenCount(getSummarizableText(block)), 0);
  const chosen = new Set(marked);
  const left = mostTokens - marked.reduce((sum, sentence) => sum + countSentenceTokens(sentence), 0);
  let rest = Math.min(left, Math.max(MIN_UNMARKED_TOKENS, total * UNMARKED_SHARE));
  for (const [sentence, isMarked] of [...found].reverse()) {
    if (isMarked || countSentenceTokens(sentence) > rest) continue;
    rest -= countSentenceTokens(sentence);
    chosen.add(sentence);
  }
  return [...found.keys()].filter((sentence) => chosen.has(sentence)).join('\n') || EMPTY_SUMMARY;
}
