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
  'sluice-request-id': 'Sluice’s id of the request. Use it with `GET /usage/requests/{request_id}`.',
  'sluice-upstream':
    'The name of the upstream that responded, if the deployment has several. `simulator` for the built-in simulator.',
  'sluice-fallback-from': 'The requested model, if a fallback model responded.',
  'sluice-limited-by':
    'The owner of the limit that rejected the request: `account`, `token`, `group`, `deployment`, `run` or `upstream`.',
  'sluice-model-retires': 'The retirement date of the model, if it retires soon.',
  'sluice-hint':
    'A suggestion if the upstream does not know the model: its replacement, or a model with a similar name.',
  'sluice-max-tokens': 'The value to which `max_tokens` was lowered so that the budget can pay for the request.',
  'sluice-lowered-by':
    'The owner of the limit that lowered `max_tokens`, its name, and when it resets: `account; limit=usd_per_day; resets=…`. A limit that does not reset has no `resets`. If `max_uses` was set to limit server tools, `max_uses=…` follows.',
  'sluice-cost-usd': 'The cost of the request, in US dollars. A stream contains it in a comment at its end.',
  'sluice-budget-used':
    'The used share, from 0 to 1, of the most used limit in US dollars of the account or its token. A stream contains it in a comment at its end. For a rejected request: the used share of the limit that rejected it, which is 1 for a shared budget.',
  'sluice-budget-fits':
    'Whether these limits can pay for the same request again. A stream contains it in a comment at its end.',
  'sluice-turn': 'The id of the turn.',
  'sluice-history-omitted':
    'The number of blocks in the history that the API no longer accepts. They are sent as a sentence instead, and remain stored.',
  'sluice-tools-omitted':
    'The names of the agent’s tools that the API rejected, also in an earlier turn. The conversation continues without them.',
};
