/** Serves accounts: their limits, spending, credit and erasure. Users see only their own account. */

import type { Context } from 'hono';
import { getAllAccountMarks } from '../../auth/account-mark.ts';
import { deleteMark } from '../../auth/account-mark-index.ts';
import { hasScope } from '../../auth/authenticate.ts';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import type { Identity } from '../../auth/identity/caller.ts';
import { isSourceAccount } from '../../auth/identity/identity.ts';
import { defineRoute } from '../../auth/route.ts';
import { usdToNanodollars } from '../../claude/pricing/cost.ts';
import { createInvalidRequestError, createNotFoundError } from '../../kit/http/errors.ts';
import { createListResponse, parsePageQuery } from '../../kit/http/page.ts';
import { createTextStream } from '../../kit/http/text-stream.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { readErasureListPage } from '../../kit/kv/erasure-list.ts';
import { accountList, operatorList } from '../../kit/kv/name-list.ts';
import { getSinglePluginMember } from '../../kit/plugins/plugins.ts';
import { computeUsedShareOfLimit } from '../admission/budget-left.ts';
import { readJsonBody } from '../admission/read-body.ts';
import { sortByTightness } from '../budget/binding-limits.ts';
import { getDefaultLimits } from '../budget/default-limits.ts';
import { createLimitConflictError } from '../budget/limit-conflict.ts';
import { blockSchema, creditKey, creditRequest, limitsPatch, limitsSchema } from '../budget/limits.schema.ts';
import { findUnaffordableSearches } from '../budget/unpaid-searches.ts';
import { CALENDAR_PERIODS, mapPeriods } from '../budget/windows.ts';
import { createChangeOrigin, logChange } from '../changes/change-origin.ts';
import { createAccountCaller } from '../contracts/call-account.ts';
import { addNamedAccountToList } from '../lists/list-account.ts';
import { hideOperatorMessage } from './hide-operator-message.ts';
import { absentQuery, erasureRequest } from './usage.schema.ts';
import type { QuotaReport, RestrictedAccountAnswer } from './usage-answers.schema.ts';

/** Milliseconds by which the clock of the other deployment may be ahead. */
const MAX_CLOCK_SKEW_MS = 60_000;

/**
 * The routes of one account (the list of all is in `plugins/pools/`). An admin sees and changes any; everybody else sees only their own
 * status.
 */
export const ACCOUNT_ROUTES = [
  defineRoute(
    'GET /accounts/:id',
    { needs: 'credential', openToRestrictedTokens: true, query: absentQuery },
    async (c) => {
      const id = resolveAccountId(c, c.req.param('id'));
      const answer = await fetchAccountAnswer(c, id);
      if (c.get('identity').only) return c.json(toUsedShares(answer));
      if (answer.own_limits === null && answer.total.settled_usd === 0) await requireKnownAccount(c, id);
      return c.json(answer);
    },
  ),
  defineRoute('PUT /accounts/:id/limits', { needs: 'admin', body: limitsSchema }, async (c, { body }) => {
    const id = c.req.param('id');
    const { json } = await readJsonBody(c);
    const limits = validateBySchema(body, json);
    const changed = await createAccountCaller(c, id)((object) => object.setLimits(limits, createChangeOrigin(c)));
    logChange(c, { type: 'account', id }, changed);
    addNamedAccountToList(getRequestContext(c), id);
    return c.json(await fetchChangedAccountAnswer(c, id));
  }),
  defineRoute('PATCH /accounts/:id/limits', { needs: 'admin', body: limitsPatch }, async (c, { body }) => {
    const id = c.req.param('id');
    const { json } = await readJsonBody(c);
    const patch = validateBySchema(body, json);
    const outcome = await createAccountCaller(c, id)((object) => object.patchLimits(patch, createChangeOrigin(c)));
    if ('conflict' in outcome) throw createLimitConflictError(outcome.conflict);
    logChange(c, { type: 'account', id }, outcome.changed);
    addNamedAccountToList(getRequestContext(c), id);
    return c.json(await fetchChangedAccountAnswer(c, id));
  }),
  defineRoute(
    'PUT /accounts/:id/block',
    { needs: 'admin', body: blockSchema, endsSpending: true },
    async (c, { body }) => {
      const id = c.req.param('id');
      const block = validateBySchema(body, (await readJsonBody(c)).json);
      if (id === c.get('identity').account)
        throw createInvalidRequestError(
          'This is the account of your own token, which the block would reject, too. Block it with a token of another account.',
        );
      await createAccountCaller(c, id)((object) => object.setBlock(block, createChangeOrigin(c)));
      logChange(c, { type: 'account', id }, ['block']);
      addNamedAccountToList(getRequestContext(c), id);
      return c.json(await fetchAccountAnswer(c, id));
    },
  ),
  defineRoute('DELETE /accounts/:id/block', { needs: 'admin', endsSpending: true }, async (c) => {
    const id = c.req.param('id');
    await createAccountCaller(c, id)((object) => object.setBlock(null, createChangeOrigin(c)));
    logChange(c, { type: 'account', id }, ['block']);
    return c.json(await fetchAccountAnswer(c, id));
  }),
  defineRoute('POST /accounts/:id/credit', { needs: 'admin', body: creditRequest }, async (c, { body }) => {
    const id = c.req.param('id');
    const { json } = await readJsonBody(c);
    const { usd, expires_at, note } = validateBySchema(body, json);
    const expiresAt = expires_at === undefined ? null : Date.parse(expires_at);
    if (expiresAt !== null && expiresAt <= Date.now())
      throw createInvalidRequestError('expires_at: must be in the future. Send a later time.');
    if (expiresAt !== null && usd < 0)
      throw createInvalidRequestError(
        'expires_at: not supported for a negative amount, which does not expire. Remove it.',
      );
    const credit = { id: `credit_${crypto.randomUUID()}`, key: getIdempotencyKeyOfCredit(c), usd, expiresAt, note };
    const answer = await createAccountCaller(c, id)((object) => object.giveCredit(credit, createChangeOrigin(c)));
    logChange(c, { type: 'account', id }, ['credit']);
    if (answer.outcome === 'other') {
      throw createInvalidRequestError(
        'This idempotency-key was already used for another credit. Use a new key for a new credit.',
      );
    }
    if (answer.outcome !== 'given') {
      throw createInvalidRequestError(
        'An account can have at most 10,000 credits, and $9,000,000 in total. Raise its limit usd_total instead.',
      );
    }
    addNamedAccountToList(getRequestContext(c), id);
    return c.json({ credit: answer.id, ...(await fetchAccountAnswer(c, id)) }, 201);
  }),
  defineRoute('GET /accounts/:id/credit', { needs: 'credential', pages: true }, async (c) => {
    const id = resolveAccountId(c, c.req.param('id'));
    const page = parsePageQuery(c.req.query());
    const defaults = getDefaultLimits(id, c.get('settings'));
    return c.json(await createAccountCaller(c, id)((object) => object.listCredits(page, defaults)));
  }),
  defineRoute('GET /accounts/:id/export', { needs: 'credential' }, (c) => {
    const call = createAccountCaller(c, resolveAccountId(c, c.req.param('id')));
    return new Response(createTextStream(iterateLedgerJsonLines(call, c.get('identity'))), {
      headers: { 'content-type': 'application/jsonl' },
    });
  }),
  defineRoute('DELETE /accounts/:id', { needs: 'admin', endsSpending: true }, (c) =>
    eraseAccountAndRespond(c, c.req.param('id')),
  ),
  defineRoute('PUT /accounts/:id/erasure', { needs: 'admin', body: erasureRequest }, async (c, { body }) => {
    const { json } = await readJsonBody(c);
    const at = Date.parse(validateBySchema(body, json).erased_at);
    if (at > Date.now() + MAX_CLOCK_SKEW_MS)
      throw createInvalidRequestError(
        'erased_at: must be in the past. To erase the account now, send DELETE /accounts/:id.',
      );
    return await eraseAccountAndRespond(c, c.req.param('id'), at);
  }),
  defineRoute('GET /erasures', { needs: 'admin:backup', pages: true }, async (c) => {
    const { limit, after_id: after, before_id: before } = parsePageQuery(c.req.query());
    const page = await readErasureListPage(c.env.STORE, { limit, after, before });
    const rows = page.erasures.map(({ account, at }) => {
      return { type: 'erasure', account, erased_at: new Date(at).toISOString() };
    });
    return c.json(createListResponse(rows, page.hasMore, ({ account }) => account));
  }),
];

/** Erases an account, and answers how far that is. @param until as `erase` of its object */
async function eraseAccountAndRespond(c: Context<AppEnv>, id: string, until?: number): Promise<Response> {
  const call = createAccountCaller(c, id);
  const progress = await call((object) => object.erase(until, createChangeOrigin(c)));
  // Log the erasure without the account's id: the log outlasts the erasure, and must not name the account.
  logChange(c, { type: 'account', id: null }, []);
  // An erasure of old data (`until`) leaves the account in the list if the account has newer data.
  if (until === undefined || !(await call((object) => object.isInAccountList()))) {
    await accountList.removeName(c.env.STORE, id);
    await operatorList.removeName(c.env.STORE, id);
    for (const mark of await getAllAccountMarks(id, c.get('settings'))) await deleteMark(c.env.STORE, mark);
  }
  return c.json({ type: 'account', id, ...progress }, 202);
}

async function fetchAccountAnswer(c: Context<AppEnv>, id: string) {
  const { account, token } = c.get('identity');
  const jti = account === id ? token?.jti : undefined;
  const defaults = getDefaultLimits(id, c.get('settings'));
  const standing = await createAccountCaller(c, id)((object) => object.getQuotaReport(defaults, jti));
  // The limits of all accounts together show what other accounts have spent, so only an operator's token (`admin:read`)
  // receives them.
  const all = hasScope(c.get('identity'), 'admin:read') ? getSinglePluginMember('allAccounts') : undefined;
  const shared = (await all?.readSharedLimits(c, standing.group)) ?? [];
  return { type: 'account', id, ...standing, binds: sortByTightness([...standing.binds, ...shared]) };
}

/** @returns the report for a page: the used share of each of the account's own limits in USD, and when the limit resets */
function toUsedShares({ id, total, token, ...report }: QuotaReport & { id: string }): RestrictedAccountAnswer {
  const toUsedShare = (limit: number | null | undefined, settled: number) =>
    limit == null
      ? null
      : { used: computeUsedShareOfLimit({ settled: usdToNanodollars(settled), limit: usdToNanodollars(limit) }) };
  return {
    type: 'account',
    id,
    ...mapPeriods(CALENDAR_PERIODS, (period) => {
      const { limit_usd, settled_usd, resets_at } = report[period];
      const share = toUsedShare(limit_usd, settled_usd);
      return share && { ...share, resets_at };
    }),
    total: toUsedShare(total.limit_usd, total.settled_usd),
    token: token && toUsedShare(token.limits.usd_total, token.settled_usd),
  };
}

async function fetchChangedAccountAnswer(c: Context<AppEnv>, id: string) {
  const answer = await fetchAccountAnswer(c, id);
  // Compare searches with the total limit including credit (`total.limit_usd`), not with `usd_total`, which excludes credit.
  const { limits, total } = answer;
  const all = total.limit_usd === null ? limits : { ...limits, usd_total: total.limit_usd };
  return { ...answer, ...findUnaffordableSearches(all, c.get('settings')) };
}

function getIdempotencyKeyOfCredit(c: Context<AppEnv>): string | undefined {
  const key = c.req.header('idempotency-key');
  return key === undefined ? undefined : validateBySchema(creditKey, key, 'idempotency-key');
}

/**
 * Resolves the account of a request that only reads.
 *
 * @throws ApiError 404 for another account, the same as for one that does not exist
 */
export function resolveAccountId(c: Context<AppEnv>, name: string): string {
  const identity = c.get('identity');
  const isAny = identity.only === undefined && hasScope(identity, 'admin:read');
  if (name !== identity.account && !isAny) throw createNotFoundError('This account does not exist. Check its id.');
  return name;
}

/**
 * Rejects the name of an unknown account, which an admin may have mistyped. The caller's own account is always known, and so
 * are those of webhook sources, which the deployment creates.
 *
 * A query with `if_absent=empty` accepts an account that does not exist yet.
 *
 * @throws ApiError 404 if neither the list of accounts, nor the account's own object, nor the deployment's pool knows it
 */
export async function requireKnownAccount(c: Context<AppEnv>, id: string): Promise<void> {
  if (id === c.get('identity').account || isSourceAccount(id)) return;
  if (validateBySchema(absentQuery, c.req.query()).if_absent) return;
  if (await createAccountCaller(c, id)((object) => object.hasStoredData())) return;
  if (await accountList.has(c.env.STORE, id)) return;
  const all = getSinglePluginMember('allAccounts');
  if (!(await all?.isAccountKnown(c, id)))
    throw createNotFoundError('This account does not exist. GET /accounts lists all accounts.');
}

/** Yields the rows of a ledger, a line each, oldest first. */
async function* iterateLedgerJsonLines(
  call: ReturnType<typeof createAccountCaller>,
  identity: Identity,
): AsyncGenerator<string> {
  for (let cursor: string | null = ''; cursor !== null; ) {
    const from: string = cursor;
    const { rows, next } = await call((object) => object.exportLedgerRows(from));
    for (const row of rows) yield `${JSON.stringify(hideOperatorMessage(row, identity))}\n`;
    cursor = next;
  }
}
