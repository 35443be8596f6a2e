import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { isGroup } from '../../auth/identity/identity.ts';
import { readShortBody } from '../../auth/read-short-body.ts';
import { route } from '../../auth/route.ts';
import type { Settings } from '../../config/settings.ts';
import type { Remote } from '../../durable/call-object.ts';
import { type ApiError, finalError, invalidRequest, notFound } from '../../kit/http/errors.ts';
import { createList, readPage } from '../../kit/http/page.ts';
import { validate } from '../../kit/http/validate.ts';
import { accountList, groupList } from '../../kit/kv/name-list.ts';
import { accountsQuery } from '../../money/account/usage.schema.ts';
import { sortByTightness } from '../../money/budget/binding-limits.ts';
import { poolLimitsPatch, poolLimitsSchema } from '../../money/budget/limits.schema.ts';
import { unpaidSearches } from '../../money/budget/unpaid-searches.ts';
import type { AllAccounts } from '../../money/contracts/all-accounts.ts';
import { accountOf } from '../../money/contracts/call-account.ts';
import { listNamedAccount } from '../../money/lists/list-account.ts';
import { callPool, reportKeyState } from './call-pool.ts';
import type { GroupLimits, PoolObject, PoolOverview } from './contracts/pool.ts';
import { DEPLOYMENT_POOL, poolNameOfGroup } from './pool-name.ts';
import { deploymentBackup, groupBackup, membersQuery } from './pools.schema.ts';
import type { AccountSpendRow } from './pools-answers.schema.ts';
import { poolLimitsInUse, unusedAccount, withGroupLimit } from './spenders.ts';
import { rejectWhileSpent } from './spent-pools.ts';

/** For how long it is known how much of their budgets all groups have used; milliseconds. */
const GROUPS_KNOWN_MS = 60_000;
/** Groups whose pools are asked at the same time. */
const GROUPS_AT_ONCE = 20;

/** The list of accounts, with what they have told the deployment's pool. */
export const ACCOUNT_LIST_ROUTES = [
  route('GET /accounts', { needs: 'admin', pages: true, query: accountsQuery }, async (c, { query }) => {
    const page = readPage(c.req.query());
    const { sort, period } = validate(query, c.req.query());
    if (sort !== 'name') {
      // How much of a group's budget is used decides where its members stand.
      const groups = sort === 'used' ? await allGroupLimits(c) : undefined;
      const list = await deploymentPool(c)((pool) =>
        pool.accounts({ ...page, sort, period, groups, isShared: hasDeploymentLimits(c) }),
      );
      return c.json(groups ? list : { ...list, data: await addGroupLimits(c, list.data) });
    }
    const { limit, after_id: after, before_id: before } = page;
    const { names, hasMore } = await accountList.page(c.env.STORE, { limit, after, before });
    const spent = await readSpending(c, names);
    const rows = names.map((id) => spent.get(id) ?? unusedAccount(id));
    return c.json(createList(await addGroupLimits(c, rows), hasMore, ({ id }) => id));
  }),
];

/** The routes of shared budgets: those of groups, and the deployment's. All of them are for admins. */
export const GROUP_ROUTES = [
  route('GET /groups', { needs: 'admin', pages: true }, async (c) => {
    const { limit, after_id, before_id } = readPage(c.req.query());
    const page = await groupList.page(c.env.STORE, { limit, after: after_id, before: before_id });
    return c.json(createList(await readGroups(c, page.names), page.hasMore, ({ id }) => id));
  }),
  route('GET /groups/:id', { needs: 'admin' }, async (c) => {
    return c.json(await readGroup(c, groupOfPath(c)));
  }),
  route('PUT /groups/:id/limits', { needs: 'admin', body: poolLimitsSchema }, async (c, { body }) => {
    const id = groupOfPath(c);
    const limits = validate(body, await readShortBody(c));
    await callerOfPool(c, poolNameOfGroup(id))((pool) => pool.setLimits(limits));
    groupLooks.delete(c.get('settings'));
    await groupList.add(c.env.STORE, id);
    return c.json({ ...(await readGroup(c, id)), ...unpaidSearches(limits, c.get('settings')) });
  }),
  route('PATCH /groups/:id/limits', { needs: 'admin', body: poolLimitsPatch }, async (c, { body }) => {
    const id = groupOfPath(c);
    const patch = validate(body, await readShortBody(c));
    const limits = await callerOfPool(c, poolNameOfGroup(id))((pool) => pool.patchLimits(patch));
    groupLooks.delete(c.get('settings'));
    await groupList.add(c.env.STORE, id);
    return c.json({ ...(await readGroup(c, id)), ...unpaidSearches(limits, c.get('settings')) });
  }),
  route('GET /groups/:id/backup', { needs: 'admin' }, async (c) => {
    const id = groupOfPath(c);
    return c.json({
      type: 'group_backup',
      id,
      ...(await callerOfPool(c, poolNameOfGroup(id))((pool) => pool.backup())),
    });
  }),
  route('PUT /groups/:id/backup', { needs: 'admin', body: groupBackup }, async (c, { body }) => {
    const id = groupOfPath(c);
    const { id: of, limits, spent } = validate(body, await readShortBody(c));
    if (of !== id) throw invalidRequest(`id: this is the backup of the group ${of}. Send it to its own path.`);
    const isRestored = await callerOfPool(c, poolNameOfGroup(id))((pool) => pool.restore({ limits, spent }));
    if (!isRestored) throw hasLimits('This group');
    groupLooks.delete(c.get('settings'));
    if (limits !== null) await groupList.add(c.env.STORE, id);
    return c.json({ type: 'group', id, restored: true });
  }),
  route('DELETE /groups/:id', { needs: 'admin' }, async (c) => {
    const id = groupOfPath(c);
    await callerOfPool(c, poolNameOfGroup(id))((pool) => pool.setLimits(null));
    groupLooks.delete(c.get('settings'));
    await groupList.remove(c.env.STORE, id);
    return c.json(await readGroup(c, id));
  }),
  route('GET /groups/:id/accounts', { needs: 'admin', pages: true, query: membersQuery }, async (c, { query }) => {
    const { limit, after_id, before_id } = readPage(c.req.query());
    const { period } = validate(query, c.req.query());
    const wanted = { limit, after_id, before_id, period, sort: 'spent' as const };
    const page = await callerOfPool(c, poolNameOfGroup(groupOfPath(c)))((pool) => pool.accounts(wanted));
    // Their limits hold for what they spend in other groups, too: the deployment's pool knows all of it.
    const spent = await readSpending(
      c,
      page.data.map(({ id }) => id),
    );
    const data = page.data.map((row) => {
      const { tightest, blocked_by, refused_today } = spent.get(row.id) ?? unusedAccount(row.id);
      return { ...row, tightest, blocked_by, refused_today };
    });
    return c.json({ ...page, data });
  }),
  route('PUT /groups/:id/accounts/:account', { needs: 'admin' }, async (c) => {
    const group = groupOfPath(c);
    const account = c.req.param('account');
    await accountOf(c, account)((object) => object.setGroup(group));
    listNamedAccount(contextOf(c), account);
    return c.json({ account, group });
  }),
  route('DELETE /groups/:id/accounts/:account', { needs: 'admin' }, async (c) => {
    const group = groupOfPath(c);
    const account = c.req.param('account');
    const call = accountOf(c, account);
    const own = await call((object) => object.getGroup());
    // Removing it twice changes nothing. If it was moved to another group meanwhile, it stays there.
    if (own !== group) return c.json({ account, group: own });
    await call((object) => object.setGroup(null));
    return c.json({ account, group: null });
  }),
];

/** Those of the deployment's pool. */
export const DEPLOYMENT_ROUTES = [
  route('GET /pools/deployment', { needs: 'admin' }, async (c) => {
    return c.json(await readDeployment(c));
  }),
  route('PUT /pools/deployment/limits', { needs: 'admin', body: poolLimitsSchema }, async (c, { body }) => {
    requireDeploymentLimits(c);
    const limits = validate(body, await readShortBody(c));
    await deploymentPool(c)((pool) => pool.setLimits(limits));
    return c.json({ ...(await readDeployment(c)), ...unpaidSearches(limits, c.get('settings')) });
  }),
  route('PATCH /pools/deployment/limits', { needs: 'admin', body: poolLimitsPatch }, async (c, { body }) => {
    requireDeploymentLimits(c);
    const patch = validate(body, await readShortBody(c));
    const limits = await deploymentPool(c)((pool) => pool.patchLimits(patch));
    return c.json({ ...(await readDeployment(c)), ...unpaidSearches(limits, c.get('settings')) });
  }),
  route('GET /pools/deployment/backup', { needs: 'admin' }, async (c) => {
    const backup = await deploymentPool(c)((pool) => pool.backup());
    const limits = hasDeploymentLimits(c) ? backup.limits : null;
    return c.json({ type: 'deployment_backup', ...backup, limits });
  }),
  route('PUT /pools/deployment/backup', { needs: 'admin', body: deploymentBackup }, async (c, { body }) => {
    const { limits, spent } = validate(body, await readShortBody(c));
    if (limits !== null) requireDeploymentLimits(c);
    if (!(await deploymentPool(c)((pool) => pool.restore({ limits, spent })))) throw hasLimits('This deployment');
    return c.json({ type: 'pool', id: DEPLOYMENT_POOL, restored: true });
  }),
];

/** @throws ApiError 400 if accounts share no budget: limits that are stored then apply to no account */
function requireDeploymentLimits(c: Context<AppEnv>): void {
  if (hasDeploymentLimits(c)) return;
  throw invalidRequest(
    'Accounts of this deployment share no budget. Its operator sets DEPLOYMENT_LIMITS: {} is enough.',
  );
}

function hasLimits(what: string): ApiError {
  return finalError(
    'conflict_error',
    `${what} already has other limits, which stay. To replace them, an admin sends the limits of the backup (PUT …/limits).`,
  );
}

/** @returns what went wrong today, and how many accounts can ask for nothing, by their own limits or by their group's */
export async function readOverview(c: Context<AppEnv>): Promise<PoolOverview> {
  const groups = await allGroupLimits(c);
  return await deploymentPool(c)((pool) => pool.overview(groups, hasDeploymentLimits(c)));
}

/** @returns the tightest limit in USD of each of these groups that has one */
async function groupLimits(c: Context<AppEnv>, names: readonly string[]): Promise<GroupLimits> {
  const all = (await readGroups(c, names)).flatMap((group) => {
    const [tightest] = group.binds;
    return tightest ? [[group.id, tightest] as const] : [];
  });
  return Object.fromEntries(all);
}

/** What an isolate knows of the groups of a deployment, and when it has looked. */
const groupLooks = new WeakMap<Settings, { at: number; limits: GroupLimits }>();

/**
 * @returns the tightest limit of each group, as it was a minute ago at most: what accounts tell is as old, and a list that is open
 *   asks every few seconds
 */
async function allGroupLimits(c: Context<AppEnv>): Promise<GroupLimits> {
  const settings = c.get('settings');
  const now = Date.now();
  const look = groupLooks.get(settings);
  if (look && now >= look.at && now < look.at + GROUPS_KNOWN_MS) return look.limits;
  const limits = await groupLimits(c, await Array.fromAsync(groupList.all(c.env.STORE)));
  groupLooks.set(settings, { at: now, limits });
  return limits;
}

/** @returns rows of accounts, each with the limit of its group where that is tighter than its own */
async function addGroupLimits(c: Context<AppEnv>, rows: readonly AccountSpendRow[]): Promise<AccountSpendRow[]> {
  const groups = await groupLimits(c, [...new Set(rows.flatMap(({ group }) => group ?? []))]);
  return rows.map((row) => withGroupLimit(row, groups));
}

/** What the deployment's pool is told by all accounts, and tells of them. */
export const toldByAll: AllAccounts = {
  usage: (c, query) => deploymentPool(c)((pool) => pool.usage(query)),
  findLastRequests: (c, query) => deploymentPool(c)((pool) => pool.lastRequests(query)),
  sharedLimits: async (c, group) => {
    const [ofGroup, ofAll] = await Promise.all([
      group === null ? undefined : readGroup(c, group),
      hasDeploymentLimits(c) ? readDeployment(c) : undefined,
    ]);
    return [...(ofGroup?.binds ?? []), ...(ofAll?.binds ?? [])];
  },
  isKnown: async (c, account) => {
    const rows = await deploymentPool(c)((pool) => pool.findAccounts([account], false));
    // A visitor's may be told of by the row of all visitors.
    return rows.some(({ id }) => id === account);
  },
  reportKeyChange: reportKeyState,
  beforeSpending: rejectWhileSpent,
};

/** @returns what the deployment's pool knows of these accounts, by their names */
async function readSpending(c: Context<AppEnv>, names: readonly string[]): Promise<Map<string, AccountSpendRow>> {
  const rows =
    names.length === 0 ? [] : await deploymentPool(c)((pool) => pool.findAccounts(names, hasDeploymentLimits(c)));
  return new Map(rows.map((row) => [row.id, row]));
}

type CallPool = <T>(call: (pool: Remote<PoolObject>) => Promise<T>) => Promise<T>;

/** @returns the function that calls the deployment's pool, to which all accounts report what they spend. */
export function deploymentPool(c: Context<AppEnv>): CallPool {
  return callerOfPool(c, DEPLOYMENT_POOL);
}

/** @returns whether accounts share a budget of the deployment. */
function hasDeploymentLimits(c: Context<AppEnv>): boolean {
  return c.get('settings').DEPLOYMENT_LIMITS !== undefined;
}

function callerOfPool(c: Context<AppEnv>, name: string): CallPool {
  return (call) => callPool({ pools: c.env, settings: c.get('settings'), name }, call);
}

/** Asks the pools of groups, some at a time. */
async function readGroups(c: Context<AppEnv>, names: readonly string[]) {
  const rows: Awaited<ReturnType<typeof readGroup>>[] = [];
  for (let at = 0; at < names.length; at += GROUPS_AT_ONCE) {
    const some = names.slice(at, at + GROUPS_AT_ONCE);
    rows.push(...(await Promise.all(some.map((id) => readGroup(c, id)))));
  }
  return rows;
}

async function readGroup(c: Context<AppEnv>, id: string) {
  const standing = await callerOfPool(c, poolNameOfGroup(id))((pool) => pool.quota());
  return { type: 'group', id, ...standing, binds: sortByTightness(poolLimitsInUse('group', id, standing)) };
}

async function readDeployment(c: Context<AppEnv>) {
  const standing = await deploymentPool(c)((pool) => pool.quota());
  const limits = hasDeploymentLimits(c) ? standing.limits : null;
  const binds = limits === null ? [] : sortByTightness(poolLimitsInUse('deployment', null, standing));
  return { type: 'pool', id: DEPLOYMENT_POOL, ...standing, limits, binds };
}

/** @throws ApiError 404 if it cannot be a name */
function groupOfPath(c: Context<AppEnv>): string {
  const id = c.req.param('id');
  if (!isGroup(id)) throw notFound('There is no such group.');
  return id;
}
