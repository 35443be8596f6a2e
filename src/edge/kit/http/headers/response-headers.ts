/** The headers of answers that are the edge's own. A page of another origin may read each. */

declare module '../../plugins/plugins.ts' {
  interface Plugin {
    /** The `sluice-` response headers that the plugin sets. Pages of other origins may read them. */
    readonly headers?: readonly `sluice-${string}`[];
  }
}

/** The core's own. */
export const CORE_HEADERS = [
  'sluice-request-id',
  'sluice-upstream',
  'sluice-fallback-from',
  'sluice-limited-by',
  'sluice-model-retires',
  'sluice-hint',
  'sluice-max-tokens',
  'sluice-lowered-by',
  'sluice-cost-usd',
  'sluice-budget-used',
  'sluice-budget-fits',
  'sluice-turn',
  'sluice-history',
  'sluice-history-omitted',
  'sluice-tools-omitted',
] as const;

/** For the reference alone: no Worker has them in it. */
export const CORE_HEADER_DESCRIPTIONS: Readonly<
  Record<Exclude<(typeof CORE_HEADERS)[number], 'sluice-history'>, string>
> = {
  'sluice-request-id': 'This edge’s id of the request; the ledger finds it by this.',
  'sluice-upstream': 'Which one of several upstreams has answered; `simulator` where the built-in simulator has.',
  'sluice-fallback-from': 'The model that was asked for, where another one has stepped in.',
  'sluice-limited-by': 'What has limited it, where it was refused.',
  'sluice-model-retires': 'When the model retires, if it does so soon.',
  'sluice-hint': 'Where the upstream does not have the model: what replaces it, or which one may be meant.',
  'sluice-max-tokens': 'What `max_tokens` was lowered to, so that the budget can pay for it.',
  'sluice-lowered-by':
    'Whose limit has lowered `max_tokens`, and when it is free again: `account; limit=usd_per_day; resets=…`, without `resets` where it does not reset. If `max_uses` was set to limit the API’s own tools, `max_uses=…` follows.',
  'sluice-cost-usd': 'What it cost in US dollars; a stream says it in a comment at its end.',
  'sluice-budget-used':
    'The largest share of the account’s own limits in USD, its credit included, and of its token’s that is used, of 1. A stream says it in a comment at its end; a refusal that of the limit which refuses: 1 for a shared budget.',
  'sluice-budget-fits':
    'Whether the same question, asked once more, could still be paid for from these; a stream says it in a comment at its end.',
  'sluice-turn': 'The turn of the conversation.',
  'sluice-history-omitted':
    'How many blocks of the history the API no longer accepts. They are replaced by a sentence in what is sent, and stay in what is shown.',
  'sluice-tools-omitted':
    'The names of tools of the agent that the API has rejected. This conversation goes on without them.',
};
