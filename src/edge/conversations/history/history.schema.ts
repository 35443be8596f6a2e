import * as z from '../../kit/http/zod.ts';
import { getPluginMembers } from '../../kit/plugins/plugins.ts';

/**
 * The most messages with which a turn may begin: they are read, compared and stored in one step, while other requests wait. An
 * import is stored in several steps.
 */
export const MOST_IN_A_TURN = 5_000;
export const TOO_MANY_IN_A_TURN = `A turn of a conversation takes at most ${MOST_IN_A_TURN} messages. Send new ones alone, or POST /conversations with the history first`;

/** What happens to a history that has grown too long: of one conversation, or of each that begins with an agent or a prefix. */
export const historySetting = z
  .strictObject({
    max_tokens: z.addDescription(
      z.int().check(z.gte(1)),
      'The approximate number of tokens above which a prompt is too long.',
    ),
    strategy: z.addDescription(
      z.enum(['error', 'truncate', 'summarize']),
      '`error` rejects the turn, `truncate` leaves out the oldest turns, `summarize` replaces them by a summary. All messages stay stored.',
    ),
    instructions: z.createOptionalField(
      z.nullable(z.string().check(z.maxLength(8_192))),
      'Instructions for the summary, which replace the default ones. Null for the default ones. Only with `summarize`.',
    ),
    summary_max_tokens: z.createOptionalField(
      z.int().check(z.gte(1)),
      'The most tokens of a summary, less than `max_tokens`. Default: a quarter of `max_tokens`, at most 8,192. Only with `summarize`.',
    ),
  })
  .check(
    z.refine(
      ({ strategy, instructions, summary_max_tokens }) =>
        strategy === 'summarize' || (instructions === undefined && summary_max_tokens === undefined),
      { error: '`instructions` and `summary_max_tokens` require the strategy `summarize`' },
    ),
    z.refine(({ max_tokens, summary_max_tokens = 0 }) => summary_max_tokens < max_tokens, {
      path: ['summary_max_tokens'],
      error: 'must be less than max_tokens, because a summary replaces a part of the history',
    }),
  );
export type HistorySetting = z.output<typeof historySetting>;

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** The `history.strategy` that the plugin implements. */
    readonly strategy?: 'summarize';
  }
}

/** The same as a caller sets it, and takes it away again. */
export const history = z.addDescription(
  z.nullable(historySetting).check(
    z.refine(
      (setting) => setting?.strategy !== 'summarize' || getPluginMembers('strategy').includes(setting.strategy),
      {
        path: ['strategy'],
        error:
          '`summarize` requires the plugin `summaries`, which this deployment does not include. Ask its operator to add it',
      },
    ),
  ),
  'How a history that has grown too long is shortened before it is sent. All messages stay stored. Null if the history is not shortened.',
);
