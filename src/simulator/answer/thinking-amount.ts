import { computeDigest, createRandom } from '../random/digest.ts';
import type { MessageRequest } from '../request/message-request.ts';

/** How much is thought at an effort: never, of a hundred questions; else from and to so many tokens. */
const THINKING_BY_EFFORT: Readonly<Record<string, readonly [none: number, least: number, most: number]>> = {
  low: [60, 1, 300],
  medium: [20, 40, 800],
};
const HIGHEST_AMOUNT = [0, 100, 2_000] as const;
/** One question in so many takes long at a high effort. */
const LONG_THINKING_INTERVAL = 40;
const LONG_THINKING_TOKENS = [2_000, 6_000] as const;

/**
 * Decides how many tokens an answer thinks: by the question and the effort alone, so that it is the same every time. None where
 * thinking is off, or a tool is forced.
 *
 * @param text the last user text
 */
export function decideThinkingTokens({ thinking, effort, model, toolChoice }: MessageRequest, text: string): number {
  const { type } = thinking;
  if (type === 'disabled' || toolChoice.type === 'any' || toolChoice.type === 'tool') return 0;
  const at = effort ?? model.default_effort ?? 'high';
  const random = createRandom(computeDigest(`${at}:${text}`));
  const [none, least, most] = THINKING_BY_EFFORT[at] ?? HIGHEST_AMOUNT;
  const isNone = random() * 100 < none;
  // Skip only optional thinking (`adaptive`), and never for a model that always thinks.
  if (isNone && type === 'adaptive' && model.thinking?.default !== 'always') return 0;
  const [from, to] =
    THINKING_BY_EFFORT[at] === undefined && random() * LONG_THINKING_INTERVAL < 1
      ? LONG_THINKING_TOKENS
      : [least, most];
  const tokens = from + Math.floor(random() * (to - from + 1));
  return type === 'enabled' ? Math.min(tokens, thinking.budgetTokens) : tokens;
}
