import type { Context } from 'hono';
import { hasScope, requireScope } from '../auth/authenticate.ts';
import type { AppEnv } from '../auth/context.ts';
import { callAccount } from '../durable/call-account.ts';
import type { Remote } from '../durable/call-object.ts';
import type { AccountObject } from '../durable/contracts/account.ts';
import { check } from '../http/check.ts';
import { notFound } from '../http/errors.ts';
import { Hono } from '../http/hono.ts';
import { listOf, readPage } from '../http/page.ts';
import { isAccount } from '../identity/identity.ts';
import { readAccounts, unlistAccount } from '../kv/account-list.ts';
import { limitsSchema } from '../settings/limits.schema.ts';
import { defaultLimits } from './admission/default-limits.ts';
import { readJson } from './admission/read-body.ts';

/** Accounts: an admin sees and changes any, everybody else sees where they stand themselves. */
export function accountsRoutes() {
  return new Hono<AppEnv>()
    .get('/accounts', requireScope('admin'), async (c) => {
      const { limit, after_id, before_id } = readPage(c.req.query());
      const page = await readAccounts(c.env.STORE, { limit, after: after_id, before: before_id });
      const rows = page.names.map((id) => ({ type: 'account', id }));
      return c.json(listOf(rows, page.hasMore, ({ id }) => id));
    })
    .get('/accounts/:id', async (c) => {
      const id = ownOrAny(c, c.req.param('id'));
      const standing = await accountOf(c, id)((object) => object.standing(defaultLimits(id, c.get('settings'))));
      return c.json({ type: 'account', id, ...standing });
    })
    .put('/accounts/:id/limits', requireScope('admin'), async (c) => {
      const id = c.req.param('id');
      const { json } = await readJson(c);
      const limits = check(limitsSchema, json);
      const call = accountOf(c, id);
      await call((object) => object.setLimits(limits));
      const standing = await call((object) => object.standing(defaultLimits(id, c.get('settings'))));
      return c.json({ type: 'account', id, ...standing });
    })
    .get('/accounts/:id/export', (c) => {
      const call = accountOf(c, ownOrAny(c, c.req.param('id')));
      return new Response(jsonLines(call), { headers: { 'content-type': 'application/jsonl' } });
    })
    .delete('/accounts/:id', requireScope('admin'), async (c) => {
      const id = c.req.param('id');
      const progress = await accountOf(c, id)((object) => object.erase());
      await unlistAccount(c.env.STORE, id);
      return c.json({ type: 'account', id, ...progress }, 202);
    });
}

/**
 * @returns what calls the object of an account by its name in a path
 * @throws ApiError 404 for what cannot be a name
 */
export function accountOf(c: Context<AppEnv>, name: string) {
  if (!isAccount(name)) throw notFound('There is no such account.');
  const request = { identity: { account: name }, accounts: c.env, settings: c.get('settings') };
  return <T>(call: (object: Remote<AccountObject>) => Promise<T>) => callAccount(request, call);
}

/** @throws ApiError 404 for somebody else's account, as for one that does not exist */
export function ownOrAny(c: Context<AppEnv>, name: string): string {
  const identity = c.get('identity');
  if (name !== identity.account && !hasScope(identity, 'admin')) throw notFound('There is no such account.');
  return name;
}

/** The rows of a ledger, a line each, oldest first; the next page is read when it is wanted. */
function jsonLines(call: ReturnType<typeof accountOf>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let cursor: string | null = '';
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (cursor === null) {
        controller.close();
        return;
      }
      const from = cursor;
      const { rows, next } = await call((object) => object.exportRows(from));
      cursor = next;
      const text = rows.map((row) => `${JSON.stringify(row)}\n`).join('');
      if (text !== '') controller.enqueue(encoder.encode(text));
      else if (next === null) controller.close();
    },
  });
}
