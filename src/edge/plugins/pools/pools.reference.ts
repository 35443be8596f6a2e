import { createObjectTypeSchema } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import { createNamedListSchema, describeJsonResponse, describePageResponse } from '../../openapi/responses.ts';
import { ACCOUNT_LIST_ROUTES, DEPLOYMENT_ROUTES, GROUP_ROUTES } from './pools.route.ts';
import { deploymentBackup, groupBackup } from './pools.schema.ts';
import { accountSpendRow, deploymentAnswer, groupAnswer, membershipAnswer } from './pools-answers.schema.ts';

const createExampleWindow = (name: string, limit: number | null, resets: string) => ({
  window: name,
  limit_usd: limit,
  spent_usd: 12.5,
  leased_usd: 0.75,
  resets_at: resets,
});
const limits = { usd_per_day: 50 };
const poolQuotaExample = {
  limits,
  hour: createExampleWindow('2026-11-20T12', null, '2026-11-20T13:00:00.000Z'),
  day: createExampleWindow('2026-11-20', 50, '2026-11-21T00:00:00.000Z'),
  week: createExampleWindow('2026-W47', null, '2026-11-23T00:00:00.000Z'),
  month: createExampleWindow('2026-11', null, '2026-12-01T00:00:00.000Z'),
  total: { window: 'total', limit_usd: null, spent_usd: 120.5, leased_usd: 0.75 },
};
const createExampleBindingLimits = (by: string, id: string | null) => [
  {
    by,
    id,
    limit: 'usd_per_day',
    limit_usd: 50,
    used_usd: 12.5,
    resets_at: '2026-11-21T00:00:00.000Z',
    refuses: false,
  },
];
const groupSchema = z.addReferenceMeta(groupAnswer, { id: 'Group' });
const deploymentSchema = z.addReferenceMeta(deploymentAnswer, { id: 'DeploymentPool' });
const limitsBody = { id: 'PoolLimits', example: limits };
const groupExample = {
  type: 'group',
  id: 'research',
  ...poolQuotaExample,
  binds: createExampleBindingLimits('group', 'research'),
  refused_today: 0,
};
const describeGroupResponse = (description: string) => describeJsonResponse(description, groupSchema, groupExample);
const describeDeploymentResponse = (description: string) =>
  describeJsonResponse(description, deploymentSchema, {
    type: 'pool',
    id: 'deployment',
    ...poolQuotaExample,
    binds: createExampleBindingLimits('deployment', null),
  });
const RESTORED_POOL = 'For each window, the larger sum is kept, so the same backup can be sent again.';
const backedUp = { limits, spent: { '2026-11': { end: 1_796_083_200_000, spent: 12_500_000_000 } } };
const groupBackupExample = { type: 'group_backup', id: 'research', ...backedUp };
const groupBackupSchema = z.addReferenceMeta(groupBackup, { id: 'GroupBackup' });
const deploymentBackupExample = { type: 'deployment_backup', ...backedUp };
const deploymentBackupSchema = z.addReferenceMeta(deploymentBackup, { id: 'DeploymentBackup' });
const restoredGroup = z.object({
  type: createObjectTypeSchema('group'),
  id: z.addDescription(z.string(), 'The name of the group.'),
  restored: z.addDescription(z.literal(true), 'Always `true`, because the backup is restored.'),
});
const restoredPool = z.object({
  type: createObjectTypeSchema('pool'),
  id: z.addDescription(z.literal('deployment'), 'Always `deployment`.'),
  restored: z.addDescription(z.literal(true), 'Always `true`, because the backup is restored.'),
});
const describeMembershipResponse = (description: string, name: string | null) =>
  describeJsonResponse(description, membershipSchema, { account: 'alice', group: name });
const membershipSchema = z.addReferenceMeta(membershipAnswer, { id: 'Membership' });
const spendRow = {
  type: 'account',
  id: 'alice',
  group: 'research',
  spent_usd: { day: 0.25, week: 1.5, month: 4 },
  limit_usd: { day: 1, week: null, month: null },
  tightest: {
    by: 'account',
    id: null,
    limit: 'usd_per_day',
    limit_usd: 1,
    used_usd: 0.25,
    resets_at: '2026-11-21T00:00:00.000Z',
    refuses: false,
  },
  blocked_by: null,
  refused_today: 0,
  last_seen_at: '2026-11-20T10:06:14.000Z',
};

export const spenders: ApiResource = {
  tag: 'Accounts',
  routes: describeRoutes(ACCOUNT_LIST_ROUTES, {
    'GET /accounts': {
      operation: 'listAccounts',
      summary: 'List accounts',
      description:
        'Spending is updated within a minute. Sorted by name, a page reads only its own accounts; any other order reads all accounts, which takes longer in a large deployment. Unless accounts are sorted by name, `first_id` and `last_id` contain the sort value, so that the next page continues correctly even if the spending changes.',
      answer: describePageResponse(
        createNamedListSchema('AccountList', accountSpendRow),
        spendRow,
        'alice',
        'A page of the list.',
      ),
    },
  }),
};

export const groups: ApiResource = {
  tag: 'Groups',
  description:
    'Budgets that the accounts of a group share. An account belongs to the group that an admin assigned, or else to the group in its credential (the claim in `JWT_GROUP_CLAIM`).',
  parameters: {
    id: { description: 'The name of the group, 1 to 128 characters.', example: 'research' },
    account: { description: 'The name of the account, 1 to 128 characters.', example: 'alice' },
  },
  errors: [503],
  routes: describeRoutes(GROUP_ROUTES, {
    'GET /groups': {
      operation: 'listGroups',
      summary: 'List groups with limits',
      answer: describePageResponse(
        createNamedListSchema('GroupList', groupAnswer),
        groupExample,
        'research',
        'A page of the groups with their usage, sorted by name.',
      ),
    },
    'GET /groups/:id': {
      operation: 'getGroup',
      summary: 'Retrieve a group’s limits and spending',
      answer: describeGroupResponse('The limits of the group, and the spending and leases of its accounts.'),
    },
    'PUT /groups/:id/limits': {
      operation: 'setGroupLimits',
      summary: 'Replace the limits of a group',
      description: 'A lowered limit takes effect within a minute, because accounts can use their leases until then.',
      body: limitsBody,
      answer: describeGroupResponse('The group with the new limits.'),
    },
    'PATCH /groups/:id/limits': {
      operation: 'changeGroupLimits',
      summary: 'Change some limits of a group',
      description:
        'Null removes a limit; absent limits do not change. `if_limits` keeps two admins from overwriting each other’s changes.',
      body: { id: 'PoolLimitsPatch', example: { usd_per_day: 80, usd_per_week: null } },
      answer: describeGroupResponse('The group with the new limits.'),
      errors: [409],
    },
    'GET /groups/:id/backup': {
      operation: 'backUpGroup',
      summary: 'Back up the budget of a group',
      description: 'Contains the limits with their alerts, and the spending of the accounts in each window.',
      answer: describeJsonResponse('The backup.', groupBackupSchema, groupBackupExample),
    },
    'PUT /groups/:id/backup': {
      operation: 'restoreGroup',
      summary: 'Restore the budget of a group',
      description: `${RESTORED_POOL} A group with other limits returns a 409.`,
      body: { schema: groupBackupSchema, example: groupBackupExample },
      answer: describeJsonResponse(
        'The group is restored.',
        z.addReferenceMeta(restoredGroup, { id: 'RestoredGroup' }),
        {
          type: 'group',
          id: 'research',
          restored: true,
        },
      ),
      errors: [409],
    },
    'DELETE /groups/:id': {
      operation: 'deleteGroup',
      summary: 'Remove the limits of a group',
      description: 'The accounts remain in the group until they are moved.',
      answer: describeGroupResponse('The usage of the group, without limits.'),
    },
    'GET /groups/:id/accounts': {
      operation: 'listGroupAccounts',
      summary: 'List the accounts of a group by spending',
      answer: describePageResponse(
        createNamedListSchema('AccountSpendList', accountSpendRow),
        spendRow,
        'alice',
        'A page of the accounts with requests, in descending order of spending.',
      ),
    },
    'PUT /groups/:id/accounts/:account': {
      operation: 'putGroupAccount',
      summary: 'Add an account to a group',
      description: 'Overrides the group in the account’s credentials. The previous group pays for running requests.',
      answer: describeMembershipResponse('The group of the account.', 'research'),
    },
    'DELETE /groups/:id/accounts/:account': {
      operation: 'deleteGroupAccount',
      summary: 'Remove an account from a group',
      description: 'The group in the account’s credentials then applies. An account in another group is unchanged.',
      answer: describeMembershipResponse('The account, without an assigned group.', null),
    },
  }),
};

export const deploymentPools: ApiResource = {
  tag: 'Deployment',
  description:
    'The spending of all accounts, and the budget that they share if the setting `DEPLOYMENT_LIMITS` is set.',
  errors: [503],
  routes: describeRoutes(DEPLOYMENT_ROUTES, {
    'GET /pools/deployment': {
      operation: 'getDeploymentPool',
      summary: 'Retrieve the deployment’s limits and spending',
      description: 'Without the setting `DEPLOYMENT_LIMITS`, accounts share no budget, and `limits` is null.',
      answer: describeDeploymentResponse('The limits of the deployment, and the spending and leases of all accounts.'),
    },
    'PUT /pools/deployment/limits': {
      operation: 'setDeploymentLimits',
      summary: 'Replace the limits of the deployment',
      description:
        'These limits override the setting `DEPLOYMENT_LIMITS`. A lowered limit takes effect within a minute.',
      body: limitsBody,
      answer: describeDeploymentResponse('The deployment with the new limits.'),
    },
    'PATCH /pools/deployment/limits': {
      operation: 'changeDeploymentLimits',
      summary: 'Change some limits of the deployment',
      description:
        'Null removes a limit. Absent limits and alerts do not change. `if_limits` keeps two admins from overwriting each other’s changes.',
      body: { id: 'PoolLimitsPatch', example: { usd_per_day: 80 } },
      answer: describeDeploymentResponse('The deployment with the new limits.'),
      errors: [409],
    },
    'GET /pools/deployment/backup': {
      operation: 'backUpDeploymentPool',
      summary: 'Back up the budget of the deployment',
      description:
        'Contains the limits with their alerts, and the spending of erased accounts and visitors in each window. The spending of other accounts is in their own backups.',
      answer: describeJsonResponse('The backup.', deploymentBackupSchema, deploymentBackupExample),
    },
    'PUT /pools/deployment/backup': {
      operation: 'restoreDeploymentPool',
      summary: 'Restore the budget of the deployment',
      description: `${RESTORED_POOL} A deployment with other limits returns a 409. Requires the setting \`DEPLOYMENT_LIMITS\`.`,
      body: { schema: deploymentBackupSchema, example: deploymentBackupExample },
      answer: describeJsonResponse(
        'The deployment’s budget is restored.',
        z.addReferenceMeta(restoredPool, { id: 'RestoredPool' }),
        {
          type: 'pool',
          id: 'deployment',
          restored: true,
        },
      ),
      errors: [409],
    },
  }),
};
