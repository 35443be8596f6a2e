import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import { isGroupName } from '../../auth/identity/identity.ts';
import { readShortBody } from '../../auth/read-short-body.ts';
import { defineRoute } from '../../auth/route.ts';
import type { Settings } from '../../config/settings.ts';
import type { RemoteMethods } from '../../durable/call-object.ts';
import {
  type ApiError,
  createInvalidRequestError,
  createNonRetryableError,
  createNotFoundError,
} from '../../kit/http/errors.ts';
import { createListResponse, parsePageQuery } from '../../kit/http/page.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { accountList, groupList } from '../../kit/kv/name-list.ts';
import { accountsQuery } from '../../money/account/usage.schema.ts';
import { sortByTightness } from '../../money/budget/binding-limits.ts';
import { createLimitConflictError } from '../../money/budget/limit-conflict.ts';
import { poolLimitsPatch, poolLimitsSchema } from '../../money/budget/limits.schema.ts';
import { findUnaffordableSearches } from '../../money/budget/unpaid-searches.ts';
import { createChangeOrigin, logChange } from '../../money/changes/change-origin.ts';
import type { AllAccountsPlugin } from '../../money/contracts/all-accounts.ts';
import { createAccountCaller } from '../../money/contracts/call-account.ts';
import { addNamedAccountToList } from '../../money/lists/list-account.ts';
import { callPool, reportKeyStateToPool } from './call-pool.ts';
import type { PoolObject, PoolOverview, TightestLimitByGroup } from './contracts/pool.ts';
import { DEPLOYMENT_POOL, toGroupPoolName } from './pool-name.ts';
import { deploymentBackup, groupBackup, membersQuery } from './pools.schema.ts';
import type { AccountSpendRow } from './pools-answers.schema.ts';
import { applyGroupLimitIfTighter, createUnknownAccountRow, listUsedPoolLimits } from './spenders.ts';
import { rejectVisitorsWhilePoolSpent } from './spent-pools.ts';

/** For how long it is known how much of their budgets all groups have used; milliseconds. */
const GROUPS_KNOWN_MS = 60_000;
/** The number of groups whose pools are called at the same time. */
const GROUPS_AT_ONCE = 20;

/** The list of accounts, with their reports to the deployment's pool. */
export const ACCOUNT_LIST_ROUTES = [
  defineRoute(
    'GET /accounts',
    { needs: ['admin:read', 'admin:backup'], pages: true, query: accountsQuery },
    async (c, { query }) => {
      const page = parsePageQuery(c.req.query());
      const { sort, period } = validateBySchema(query, c.req.query());
      if (sort !== 'name') {
        // Sort by the limit that is used most: an account may be limited by its own limits or by those of its group, so read
        // the groups' limits, too.
        const groups = sort === 'used' ? await getCachedTightestLimitOfAllGroups(c) : undefined;
        const list = await createDeploymentPoolCaller(c)((pool) =>
          pool.listAccountSpending({ ...page, sort, period, groups, isShared: hasDeploymentLimits(c) }),
        );
        return c.json(groups ? list : { ...list, data: await addGroupLimitsToRows(c, list.data) });
      }
      const { limit, after_id: after, before_id: before } = page;
      const { names, hasMore } = await accountList.readNamePage(c.env.STORE, { limit, after, before });
      const spent = await readAccountSpending(c, names);
      const rows = names.map((id) => spent.get(id) ?? createUnknownAccountRow(id));
      return c.json(createListResponse(await addGroupLimitsToRows(c, rows), hasMore, ({ id }) => id));
    },
  ),
];

/** The routes of shared budgets: those of groups, and the deployment's. All of them are for admins. */
export const GROUP_ROUTES = [
  defineRoute('GET /groups', { needs: ['admin:read', 'admin:backup'], pages: true }, async (c) => {
    const { limit, after_id, before_id } = parsePageQuery(c.req.query());
    const page = await groupList.readNamePage(c.env.STORE, { limit, after: after_id, before: before_id });
    const groups = await addRejectionsToGroups(c, await readGroups(c, page.names));
    return c.json(createListResponse(groups, page.hasMore, ({ id }) => id));
  }),
  defineRoute('GET /groups/:id', { needs: 'admin:read' }, async (c) => {
    return c.json(await readGroupAnswer(c, requireGroupFromPath(c)));
  }),
  defineRoute('PUT /groups/:id/limits', { needs: 'admin', body: poolLimitsSchema }, async (c, { body }) => {
    const id = requireGroupFromPath(c);
    const limits = validateBySchema(body, await readShortBody(c));
    const changed = await createPoolCaller(
      c,
      toGroupPoolName(id),
    )((pool) => pool.setLimits(limits, createChangeOrigin(c)));
    logChange(c, { type: 'group', id }, changed);
    groupLooks.delete(c.get('settings'));
    await groupList.addName(c.env.STORE, id);
    return c.json({ ...(await readGroupAnswer(c, id)), ...findUnaffordableSearches(limits, c.get('settings')) });
  }),
  defineRoute('PATCH /groups/:id/limits', { needs: 'admin', body: poolLimitsPatch }, async (c, { body }) => {
    const id = requireGroupFromPath(c);
    const patch = validateBySchema(body, await readShortBody(c));
    const outcome = await createPoolCaller(
      c,
      toGroupPoolName(id),
    )((pool) => pool.patchLimits(patch, createChangeOrigin(c)));
    if ('conflict' in outcome) throw createLimitConflictError(outcome.conflict);
    const { limits, changed } = outcome;
    logChange(c, { type: 'group', id }, changed);
    groupLooks.delete(c.get('settings'));
    await groupList.addName(c.env.STORE, id);
    return c.json({ ...(await readGroupAnswer(c, id)), ...findUnaffordableSearches(limits, c.get('settings')) });
  }),
  defineRoute('GET /groups/:id/backup', { needs: 'admin:backup' }, async (c) => {
    const id = requireGroupFromPath(c);
    return c.json({
      type: 'group_backup',
      id,
      ...(await createPoolCaller(c, toGroupPoolName(id))((pool) => pool.createPoolBackup())),
    });
  }),
  defineRoute('PUT /groups/:id/backup', { needs: 'admin', body: groupBackup }, async (c, { body }) => {
    const id = requireGroupFromPath(c);
    const { id: of, limits, spent } = validateBySchema(body, await readShortBody(c));
    if (of !== id)
      throw createInvalidRequestError(`id: this is the backup of the group ${of}. Send it to the path of this group.`);
    const isRestored = await createPoolCaller(
      c,
      toGroupPoolName(id),
    )((pool) => pool.restorePoolBackup({ limits, spent }, createChangeOrigin(c)));
    if (!isRestored) throw createLimitsAlreadySetError('This group');
    logChange(c, { type: 'group', id }, ['backup']);
    groupLooks.delete(c.get('settings'));
    if (limits !== null) await groupList.addName(c.env.STORE, id);
    return c.json({ type: 'group', id, restored: true });
  }),
  defineRoute('DELETE /groups/:id', { needs: 'admin', endsSpending: true }, async (c) => {
    const id = requireGroupFromPath(c);
    const changed = await createPoolCaller(
      c,
      toGroupPoolName(id),
    )((pool) => pool.setLimits(null, createChangeOrigin(c)));
    logChange(c, { type: 'group', id }, changed);
    groupLooks.delete(c.get('settings'));
    await groupList.removeName(c.env.STORE, id);
    return c.json(await readGroupAnswer(c, id));
  }),
  defineRoute(
    'GET /groups/:id/accounts',
    { needs: 'admin:read', pages: true, query: membersQuery },
    async (c, { query }) => {
      const { limit, after_id, before_id } = parsePageQuery(c.req.query());
      const { period } = validateBySchema(query, c.req.query());
      const wanted = { limit, after_id, before_id, period, sort: 'spent' as const };
      const page = await createPoolCaller(
        c,
        toGroupPoolName(requireGroupFromPath(c)),
      )((pool) => pool.listAccountSpending(wanted));
      // Read the spending from the deployment's pool, because a member's limits also cover what it spends in other groups.
      const spent = await readAccountSpending(
        c,
        page.data.map(({ id }) => id),
      );
      const data = page.data.map((row) => {
        const { tightest, blocked_by, refused_today } = spent.get(row.id) ?? createUnknownAccountRow(row.id);
        return { ...row, tightest, blocked_by, refused_today };
      });
      return c.json({ ...page, data });
    },
  ),
  defineRoute('PUT /groups/:id/accounts/:account', { needs: 'admin' }, async (c) => {
    const group = requireGroupFromPath(c);
    const account = c.req.param('account');
    await createAccountCaller(c, account)((object) => object.setGroup(group, createChangeOrigin(c)));
    logChange(c, { type: 'account', id: account }, ['group']);
    addNamedAccountToList(getRequestContext(c), account);
    return c.json({ account, group });
  }),
  defineRoute('DELETE /groups/:id/accounts/:account', { needs: 'admin', endsSpending: true }, async (c) => {
    const group = requireGroupFromPath(c);
    const account = c.req.param('account');
    const call = createAccountCaller(c, account);
    const own = await call((object) => object.getGroup());
    // Removing an account again changes nothing, and an account that has moved to another group stays there.
    if (own !== group) return c.json({ account, group: own });
    await call((object) => object.setGroup(null, createChangeOrigin(c)));
    logChange(c, { type: 'account', id: account }, ['group']);
    return c.json({ account, group: null });
  }),
];

/** Those of the deployment's pool. */
export const DEPLOYMENT_ROUTES = [
  defineRoute('GET /pools/deployment', { needs: 'admin:read' }, async (c) => {
    return c.json(await readDeploymentPoolAnswer(c));
  }),
  defineRoute('PUT /pools/deployment/limits', { needs: 'admin', body: poolLimitsSchema }, async (c, { body }) => {
    requireDeploymentLimits(c);
    const limits = validateBySchema(body, await readShortBody(c));
    const changed = await createDeploymentPoolCaller(c)((pool) => pool.setLimits(limits, createChangeOrigin(c)));
    logChange(c, { type: 'deployment', id: DEPLOYMENT_POOL }, changed);
    return c.json({ ...(await readDeploymentPoolAnswer(c)), ...findUnaffordableSearches(limits, c.get('settings')) });
  }),
  defineRoute('PATCH /pools/deployment/limits', { needs: 'admin', body: poolLimitsPatch }, async (c, { body }) => {
    requireDeploymentLimits(c);
    const patch = validateBySchema(body, await readShortBody(c));
    const origin = createChangeOrigin(c);
    const outcome = await createDeploymentPoolCaller(c)((pool) => pool.patchLimits(patch, origin));
    if ('conflict' in outcome) throw createLimitConflictError(outcome.conflict);
    const { limits, changed } = outcome;
    logChange(c, { type: 'deployment', id: DEPLOYMENT_POOL }, changed);
    return c.json({ ...(await readDeploymentPoolAnswer(c)), ...findUnaffordableSearches(limits, c.get('settings')) });
  }),
  defineRoute('GET /pools/deployment/backup', { needs: 'admin:backup' }, async (c) => {
    const backup = await createDeploymentPoolCaller(c)((pool) => pool.createPoolBackup());
    const limits = hasDeploymentLimits(c) ? backup.limits : null;
    return c.json({ type: 'deployment_backup', ...backup, limits });
  }),
  defineRoute('PUT /pools/deployment/backup', { needs: 'admin', body: deploymentBackup }, async (c, { body }) => {
    const { limits, spent } = validateBySchema(body, await readShortBody(c));
    if (limits !== null) requireDeploymentLimits(c);
    const origin = createChangeOrigin(c);
    if (!(await createDeploymentPoolCaller(c)((pool) => pool.restorePoolBackup({ limits, spent }, origin))))
      throw createLimitsAlreadySetError('This deployment');
    logChange(c, { type: 'deployment', id: DEPLOYMENT_POOL }, ['backup']);
    return c.json({ type: 'pool', id: DEPLOYMENT_POOL, restored: true });
  }),
];

/** @throws ApiError 400 if accounts share no budget: limits that are stored then apply to no account */
function requireDeploymentLimits(c: Context<AppEnv>): void {
  if (hasDeploymentLimits(c)) return;
  throw createInvalidRequestError(
    'This deployment has no shared budget. Its operator must set DEPLOYMENT_LIMITS; {} is enough.',
  );
}

function createLimitsAlreadySetError(what: string): ApiError {
  return createNonRetryableError(
    'conflict_error',
    `${what} already has other limits, which remain. To replace them, an admin can send the limits of the backup (PUT …/limits).`,
  );
}

/** @returns today's failures, and how many accounts cannot send requests because of their own or their group's limits */
export async function readOverview(c: Context<AppEnv>): Promise<PoolOverview> {
  const groups = await getCachedTightestLimitOfAllGroups(c);
  return await createDeploymentPoolCaller(c)((pool) => pool.getPoolOverview(groups, hasDeploymentLimits(c)));
}

/** @returns the tightest limit in USD of each of these groups that has one */
async function readTightestLimitOfGroups(c: Context<AppEnv>, names: readonly string[]): Promise<TightestLimitByGroup> {
  const all = (await readGroups(c, names)).flatMap((group) => {
    const [tightest] = group.binds;
    return tightest ? [[group.id, tightest] as const] : [];
  });
  return Object.fromEntries(all);
}

/** The tightest limits of a deployment's groups that an isolate has read, and when. */
const groupLooks = new WeakMap<Settings, { at: number; limits: TightestLimitByGroup }>();

/**
 * @returns the tightest limit of each group, at most a minute old: the accounts' reports are as old, and an open list is
 *   refreshed every few seconds
 */
async function getCachedTightestLimitOfAllGroups(c: Context<AppEnv>): Promise<TightestLimitByGroup> {
  const settings = c.get('settings');
  const now = Date.now();
  const look = groupLooks.get(settings);
  if (look && now >= look.at && now < look.at + GROUPS_KNOWN_MS) return look.limits;
  const limits = await readTightestLimitOfGroups(c, await Array.fromAsync(groupList.iterateNames(c.env.STORE)));
  groupLooks.set(settings, { at: now, limits });
  return limits;
}

/** @returns rows of accounts, each with the limit of its group where that is tighter than its own */
async function addGroupLimitsToRows(c: Context<AppEnv>, rows: readonly AccountSpendRow[]): Promise<AccountSpendRow[]> {
  const groups = await readTightestLimitOfGroups(c, [...new Set(rows.flatMap(({ group }) => group ?? []))]);
  return rows.map((row) => applyGroupLimitIfTighter(row, groups));
}

/** The interface to the deployment's pool, which receives the reports of all accounts. */
export const toldByAll: AllAccountsPlugin = {
  getSharedUsage: (c, query) => createDeploymentPoolCaller(c)((pool) => pool.getSharedUsage(query)),
  findAccountsByLastFailure: (c, query) =>
    createDeploymentPoolCaller(c)((pool) => pool.findAccountsByLastFailure(query)),
  readSharedLimits: async (c, group) => {
    const [ofGroup, ofAll] = await Promise.all([
      group === null ? undefined : readGroup(c, group),
      hasDeploymentLimits(c) ? readDeploymentPoolAnswer(c) : undefined,
    ]);
    return [...(ofGroup?.binds ?? []), ...(ofAll?.binds ?? [])];
  },
  isAccountKnown: async (c, account) => {
    const rows = await createDeploymentPoolCaller(c)((pool) => pool.getAccountSpending([account], false));
    // Ended visitors share one row, so a visitor may be unknown here.
    return rows.some(({ id }) => id === account);
  },
  alertOnKeyChange: reportKeyStateToPool,
  beforeSpending: rejectVisitorsWhilePoolSpent,
};

/** @returns the spending of these accounts according to the deployment's pool, by their names */
async function readAccountSpending(
  c: Context<AppEnv>,
  names: readonly string[],
): Promise<Map<string, AccountSpendRow>> {
  const rows =
    names.length === 0
      ? []
      : await createDeploymentPoolCaller(c)((pool) => pool.getAccountSpending(names, hasDeploymentLimits(c)));
  return new Map(rows.map((row) => [row.id, row]));
}

type CallPool = <T>(call: (pool: RemoteMethods<PoolObject>) => Promise<T>) => Promise<T>;

/** @returns the function that calls the deployment's pool, to which all accounts report their spending. */
export function createDeploymentPoolCaller(c: Context<AppEnv>): CallPool {
  return createPoolCaller(c, DEPLOYMENT_POOL);
}

/** @returns whether accounts share a budget of the deployment. */
function hasDeploymentLimits(c: Context<AppEnv>): boolean {
  return c.get('settings').DEPLOYMENT_LIMITS !== undefined;
}

function createPoolCaller(c: Context<AppEnv>, name: string): CallPool {
  return (call) => callPool({ pools: c.env, settings: c.get('settings'), name }, call);
}

/** @returns the first groups by their names, with the used part of their budgets */
export async function readFirstGroups(c: Context<AppEnv>, limit: number) {
  const { names } = await groupList.readNamePage(c.env.STORE, { limit });
  return await readGroups(c, names);
}

/** Reads the pools of groups, several at a time. */
async function readGroups(c: Context<AppEnv>, names: readonly string[]) {
  const rows: Awaited<ReturnType<typeof readGroup>>[] = [];
  for (let at = 0; at < names.length; at += GROUPS_AT_ONCE) {
    const some = names.slice(at, at + GROUPS_AT_ONCE);
    rows.push(...(await Promise.all(some.map((id) => readGroup(c, id)))));
  }
  return rows;
}

async function readGroup(c: Context<AppEnv>, id: string) {
  const standing = await createPoolCaller(c, toGroupPoolName(id))((pool) => pool.getPoolQuotaReport());
  return { type: 'group', id, ...standing, binds: sortByTightness(listUsedPoolLimits('group', id, standing)) };
}

/** @returns groups with how many requests their limits have refused today, which only the deployment's pool knows */
async function addRejectionsToGroups<T extends { id: string }>(c: Context<AppEnv>, groups: readonly T[]) {
  if (groups.length === 0) return [];
  const names = groups.map(({ id }) => id);
  const counts = new Map(
    Object.entries(await createDeploymentPoolCaller(c)((pool) => pool.countRejectionsByGroup(names))),
  );
  return groups.map((group) => ({ ...group, refused_today: counts.get(group.id) ?? 0 }));
}

async function readGroupAnswer(c: Context<AppEnv>, id: string) {
  const [group] = await addRejectionsToGroups(c, [await readGroup(c, id)]);
  return group;
}

async function readDeploymentPoolAnswer(c: Context<AppEnv>) {
  const standing = await createDeploymentPoolCaller(c)((pool) => pool.getPoolQuotaReport());
  const limits = hasDeploymentLimits(c) ? standing.limits : null;
  const binds = limits === null ? [] : sortByTightness(listUsedPoolLimits('deployment', null, standing));
  return { type: 'pool', id: DEPLOYMENT_POOL, ...standing, limits, binds };
}

/** @throws ApiError 404 if it cannot be a name */
function requireGroupFromPath(c: Context<AppEnv>): string {
  const id = c.req.param('id');
  if (!isGroupName(id)) throw createNotFoundError('This group does not exist. Check its id.');
  return id;
}
