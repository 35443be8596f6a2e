/** Why responses ended, in words, by `stop_reason`, or by `status` where there is none. */
const ENDINGS: Readonly<Record<string, string>> = {
  complete: 'finished',
  end_turn: 'finished',
  stop_sequence: 'stop sequence',
  tool_use: 'tool call',
  max_tokens: 'max_tokens reached',
  pause_turn: 'paused',
  refusal: 'refused by Claude',
  model_context_window_exceeded: 'context window full',
};

/** @returns why a response ended, in words; another reason stays as it is */
export function describeEnding(reason: string): string {
  return Object.hasOwn(ENDINGS, reason) ? (ENDINGS[reason] ?? reason) : reason;
}
