import type { Context } from 'hono';
import { getAllAccountMarks } from '../../auth/account-mark.ts';
import { deleteMark } from '../../auth/account-mark-index.ts';
import { hasScope } from '../../auth/authenticate.ts';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { isSourceAccount } from '../../auth/identity/identity.ts';
import { route } from '../../auth/route.ts';
import { fromUsd } from '../../claude/pricing/cost.ts';
import { invalidRequest, notFound } from '../../kit/http/errors.ts';
import { createList, readPage } from '../../kit/http/page.ts';
import { createTextStream } from '../../kit/http/text-stream.ts';
import { validate } from '../../kit/http/validate.ts';
import { listErasures } from '../../kit/kv/erasure-list.ts';
import { accountList } from '../../kit/kv/name-list.ts';
import { contribution } from '../../kit/plugins/plugins.ts';
import { shareUsed } from '../admission/budget-left.ts';
import { readJson } from '../admission/read-body.ts';
import { sortByTightness } from '../budget/binding-limits.ts';
import { defaultLimits } from '../budget/default-limits.ts';
import { creditRequest, limitsPatch, limitsSchema } from '../budget/limits.schema.ts';
import { unpaidSearches } from '../budget/unpaid-searches.ts';
import { byPeriod, CALENDAR_PERIODS } from '../budget/windows.ts';
import { accountOf } from '../contracts/call-account.ts';
import { listNamedAccount } from '../lists/list-account.ts';
import { absentQuery, erasureRequest } from './usage.schema.ts';
import type { BoundAccountAnswer, QuotaReport } from './usage-answers.schema.ts';

const MAX_CREDIT_KEY_CHARACTERS = 256;
/** So much may the clock be ahead by which an account was erased. Milliseconds. */
const MAX_CLOCK_SKEW_MS = 60_000;

/**
 * The routes of one account (the list of all is in `plugins/pools/`). An admin sees and changes any; everybody else sees only their own
 * status.
 */
export const ACCOUNT_ROUTES = [
  route('GET /accounts/:id', { needs: 'credential', restrictedClassifier: true, query: absentQuery }, async (c) => {
    const id = resolveAccountId(c, c.req.param('id'));
    const answer = await accountAnswerOf(c, id);
    if (c.get('identity').only) return c.json(sharesOf(answer));
    if (answer.own_limits === null && answer.total.settled_usd === 0) await requireKnown(c, id);
    return c.json(answer);
  }),
  route('PUT /accounts/:id/limits', { needs: 'admin', body: limitsSchema }, async (c, { body }) => {
    const id = c.req.param('id');
    const { json } = await readJson(c);
    const limits = validate(body, json);
    await accountOf(c, id)((object) => object.setLimits(limits));
    listNamedAccount(contextOf(c), id);
    return c.json(await changedAnswerOf(c, id));
  }),
  route('PATCH /accounts/:id/limits', { needs: 'admin', body: limitsPatch }, async (c, { body }) => {
    const id = c.req.param('id');
    const { json } = await readJson(c);
    const patch = validate(body, json);
    await accountOf(c, id)((object) => object.patchLimits(patch));
    listNamedAccount(contextOf(c), id);
    return c.json(await changedAnswerOf(c, id));
  }),
  route('POST /accounts/:id/credit', { needs: 'admin', body: creditRequest }, async (c, { body }) => {
    const id = c.req.param('id');
    const { json } = await readJson(c);
    const { usd, expires_at, note } = validate(body, json);
    const expiresAt = expires_at === undefined ? null : Date.parse(expires_at);
    if (expiresAt !== null && expiresAt <= Date.now()) throw invalidRequest('expires_at: must lie in the future');
    if (expiresAt !== null && usd < 0) throw invalidRequest('expires_at: what is taken back does not expire');
    const credit = { id: `credit_${crypto.randomUUID()}`, key: creditKey(c), usd, expiresAt, note };
    const answer = await accountOf(c, id)((object) => object.giveCredit(credit));
    if (answer.outcome === 'other') {
      throw invalidRequest('This idempotency-key was used for another credit. Use a new key for a new credit.');
    }
    if (answer.outcome !== 'given') {
      throw invalidRequest(
        'An account can have 10,000 credits of $9,000,000 in all. Raise its limit usd_total instead.',
      );
    }
    listNamedAccount(contextOf(c), id);
    return c.json({ credit: answer.id, ...(await accountAnswerOf(c, id)) }, 201);
  }),
  route('GET /accounts/:id/credit', { needs: 'credential', pages: true }, async (c) => {
    const id = resolveAccountId(c, c.req.param('id'));
    const page = readPage(c.req.query());
    const defaults = defaultLimits(id, c.get('settings'));
    return c.json(await accountOf(c, id)((object) => object.credits(page, defaults)));
  }),
  route('GET /accounts/:id/export', { needs: 'credential' }, (c) => {
    const call = accountOf(c, resolveAccountId(c, c.req.param('id')));
    return new Response(createTextStream(jsonLines(call)), { headers: { 'content-type': 'application/jsonl' } });
  }),
  route('DELETE /accounts/:id', { needs: 'admin' }, (c) => eraseAndReport(c, c.req.param('id'))),
  route('PUT /accounts/:id/erasure', { needs: 'admin', body: erasureRequest }, async (c, { body }) => {
    const { json } = await readJson(c);
    const at = Date.parse(validate(body, json).erased_at);
    if (at > Date.now() + MAX_CLOCK_SKEW_MS)
      throw invalidRequest('erased_at: lies in the future. To erase the account now, send DELETE.');
    return await eraseAndReport(c, c.req.param('id'), at);
  }),
  route('GET /erasures', { needs: 'admin', pages: true }, async (c) => {
    const { limit, after_id: after, before_id: before } = readPage(c.req.query());
    const page = await listErasures(c.env.STORE, { limit, after, before });
    const rows = page.erasures.map(({ account, at }) => {
      return { type: 'erasure', account, erased_at: new Date(at).toISOString() };
    });
    return c.json(createList(rows, page.hasMore, ({ account }) => account));
  }),
];

/** Erases an account, and answers how far that is. @param until as `erase` of its object */
async function eraseAndReport(c: Context<AppEnv>, id: string, until?: number): Promise<Response> {
  const call = accountOf(c, id);
  const progress = await call((object) => object.erase(until));
  // An account with something newer than an earlier erasure stays on the list.
  if (until === undefined || !(await call((object) => object.isListed()))) {
    await accountList.remove(c.env.STORE, id);
    for (const mark of await getAllAccountMarks(id, c.get('settings'))) await deleteMark(c.env.STORE, mark);
  }
  return c.json({ type: 'account', id, ...progress }, 202);
}

async function accountAnswerOf(c: Context<AppEnv>, id: string) {
  const { account, token } = c.get('identity');
  const jti = account === id ? token?.jti : undefined;
  const defaults = defaultLimits(id, c.get('settings'));
  const standing = await accountOf(c, id)((object) => object.quota(defaults, jti));
  // What others have spent is for admins.
  const all = hasScope(c.get('identity'), 'admin') ? contribution('allAccounts') : undefined;
  const shared = (await all?.sharedLimits(c, standing.group)) ?? [];
  return { type: 'account', id, ...standing, binds: sortByTightness([...standing.binds, ...shared]) };
}

/** @returns what a page may know: which share of each of its own limits in USD is used, and when that begins anew */
function sharesOf({ id, total, token, ...report }: QuotaReport & { id: string }): BoundAccountAnswer {
  const used = (limit: number | null | undefined, settled: number) =>
    limit == null ? null : { used: shareUsed({ settled: fromUsd(settled), limit: fromUsd(limit) }) };
  return {
    type: 'account',
    id,
    ...byPeriod(CALENDAR_PERIODS, (period) => {
      const { limit_usd, settled_usd, resets_at } = report[period];
      const share = used(limit_usd, settled_usd);
      return share && { ...share, resets_at };
    }),
    total: used(total.limit_usd, total.settled_usd),
    token: token && used(token.limits.usd_total, token.settled_usd),
  };
}

async function changedAnswerOf(c: Context<AppEnv>, id: string) {
  const answer = await accountAnswerOf(c, id);
  // Credit adds to usd_total.
  const { limits, total } = answer;
  const all = total.limit_usd === null ? limits : { ...limits, usd_total: total.limit_usd };
  return { ...answer, ...unpaidSearches(all, c.get('settings')) };
}

function creditKey(c: Context<AppEnv>): string | undefined {
  const key = c.req.header('idempotency-key');
  if (key !== undefined && key.length > MAX_CREDIT_KEY_CHARACTERS) {
    throw invalidRequest(`The header idempotency-key can have ${MAX_CREDIT_KEY_CHARACTERS} characters at most.`);
  }
  return key;
}

/** @throws ApiError 404 for somebody else's account, the same as for one that does not exist */
export function resolveAccountId(c: Context<AppEnv>, name: string): string {
  const identity = c.get('identity');
  const isAny = identity.only === undefined && hasScope(identity, 'admin');
  if (name !== identity.account && !isAny) throw notFound('There is no such account.');
  return name;
}

/**
 * Has an admin who has mistyped a name hear of it. One's own account is always known, and so are those of webhook sources: the
 * deployment makes them.
 *
 * A query with `if_absent=empty` asks for an account that may be new.
 *
 * @throws ApiError 404 if neither the list of accounts, nor the account's own object, nor the deployment's pool knows it
 */
export async function requireKnown(c: Context<AppEnv>, id: string): Promise<void> {
  if (id === c.get('identity').account || isSourceAccount(id)) return;
  if (validate(absentQuery, c.req.query()).if_absent) return;
  if (await accountOf(c, id)((object) => object.isKnown())) return;
  if (await accountList.has(c.env.STORE, id)) return;
  const all = contribution('allAccounts');
  if (!(await all?.isKnown(c, id))) throw notFound('There is no such account. GET /accounts lists all.');
}

/** Yields the rows of a ledger, a line each, oldest first. */
async function* jsonLines(call: ReturnType<typeof accountOf>): AsyncGenerator<string> {
  for (let cursor: string | null = ''; cursor !== null; ) {
    const from: string = cursor;
    const { rows, next } = await call((object) => object.exportRows(from));
    for (const row of rows) yield `${JSON.stringify(row)}\n`;
    cursor = next;
  }
}
