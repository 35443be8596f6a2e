import type { AlertToRaise } from './alert-outbox.ts';
import type { Alert } from './alerts-answers.schema.ts';

/** What to do about each kind of alert, and who can do it. */
const TODO_BY_KIND: Readonly<Record<Alert['kind'], string>> = {
  threshold: 'An admin can raise the limit (PATCH …/limits), or find the spender with GET /usage?group_by=account.',
  over_hold: 'An admin can compare the request’s cost (GET /usage/requests/:request_id) with Anthropic’s Console.',
  webhook_parked: 'The operator must fix the receiver. An admin can then replay the event (POST …/replay).',
  batch_unknown: 'The operator must look for the batch in the Claude Console, and cancel it there if it exists.',
  batch_missing: 'The operator must look for the batch in the Claude Console.',
  key_refused: 'The operator must follow the `todo` of GET /health.',
  key_works: 'Nothing to do.',
  key_nearly_limited:
    'The operator can ask the upstream for higher rate limits, add another upstream (UPSTREAMS), or set input_tokens_per_minute and output_tokens_per_minute of accounts with PATCH /accounts/:id/limits.',
  upstream_failing:
    'The operator can check the upstream’s status page, and add another upstream (UPSTREAMS) or a fallback model to keep requests working.',
  upstream_works: 'Nothing to do.',
  webhook_undelivered:
    'The operator must fix the receiver. Sluice retries for about sixteen hours; after that, an admin can replay the events.',
  run_expensive:
    'An admin can read the conversation’s requests (GET /usage/requests?account=…) and lower the account’s limits (PATCH /accounts/:id/limits). The account’s user can stop or delete the conversation.',
  token_new_country:
    'An admin can look at GET /tokens/:jti. If the token’s owner does not know the use, revoke it, and mint another one.',
  disk_full: 'The operator must free disk space, or delete data of the full Durable Object. The log names the object.',
};

/** @returns an alert. What the last argument leaves out is null. @param keyParts with the kind its key, the same for the same alert */
export function createDueAlert(
  kind: Alert['kind'],
  node: Alert['node'],
  now: number,
  until: number,
  keyParts: readonly unknown[],
  more: Partial<Alert>,
): AlertToRaise {
  const created_at = new Date(now).toISOString();
  const nothing = { limit: null, window: null, threshold: null, limit_usd: null, settled_usd: null, subject: null };
  const alert = { kind, node, created_at, ...nothing, todo: TODO_BY_KIND[kind], ...more };
  return { key: JSON.stringify([kind, ...keyParts]), until, alert };
}
