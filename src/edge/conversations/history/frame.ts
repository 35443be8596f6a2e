import { listFieldNames } from '../../claude/request/all-fields.ts';
import { memoizeFromPlugins } from '../../kit/plugins/plugins.ts';

/** Members of a request that do not change the length of the prompt. */
const membersOutsidePrompt = memoizeFromPlugins(
  (): ReadonlySet<string> =>
    new Set([
      'messages',
      'stream',
      'max_tokens',
      'metadata',
      'stop_sequences',
      'temperature',
      'top_p',
      'top_k',
      'cache_control',
      'service_tier',
      ...listFieldNames(({ inPrompt }) => !inPrompt),
    ]),
);
/** The most characters of a frame; longer ones are not stored. */
const MAX_FRAME_CHARACTERS = 4_000;

/**
 * Identifies everything that determines the length of a prompt, except its messages. Two prompts with the same frame differ
 * only by their messages.
 *
 * @param mark changes when the Worker's own tools change
 * @returns null if the frame is too long to be stored
 */
export function createPromptFrameKey(
  members: Map<string, string>,
  frozen: { system: string | undefined; tools: string | undefined } | undefined,
  model: string,
  betas: string | undefined,
  mark = '',
): string | null {
  const parts = betas === undefined ? [model] : [model, `anthropic-beta:${betas}`];
  if (mark !== '') parts.push(`worker-tools:${mark}`);
  const outside = membersOutsidePrompt();
  for (const [name, text] of members) {
    if (outside.has(name) || name === 'model') continue;
    // Later turns send the `system` and `tools` of the first turn (the frozen texts). Add this member to the frame only if its
    // text differs from the frozen one.
    if (name === 'system' || name === 'tools') {
      if (!frozen || frozen[name] === text) continue;
    }
    parts.push(`${name}:${text}`);
  }
  const frame = parts.sort().join('\n');
  return frame.length <= MAX_FRAME_CHARACTERS ? frame : null;
}
