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
};
const describeGroupResponse = (description: string) => describeJsonResponse(description, groupSchema, groupExample);
const describeDeploymentResponse = (description: string) =>
  describeJsonResponse(description, deploymentSchema, {
    type: 'pool',
    id: 'deployment',
    ...poolQuotaExample,
    binds: createExampleBindingLimits('deployment', null),
  });
const RESTORED_POOL = 'Of each window the larger sum counts, so the same backup may be sent again.';
const backedUp = { limits, spent: { '2026-11': { end: 1_796_083_200_000, spent: 12_500_000_000 } } };
const groupBackupExample = { type: 'group_backup', id: 'research', ...backedUp };
const groupBackupSchema = z.addReferenceMeta(groupBackup, { id: 'GroupBackup' });
const deploymentBackupExample = { type: 'deployment_backup', ...backedUp };
const deploymentBackupSchema = z.addReferenceMeta(deploymentBackup, { id: 'DeploymentBackup' });
const restoredGroup = z.object({
  type: createObjectTypeSchema('group'),
  id: z.addDescription(z.string(), 'The name of the group.'),
  restored: z.addDescription(z.literal(true), 'Always `true`: the backup is restored.'),
});
const restoredPool = z.object({
  type: createObjectTypeSchema('pool'),
  id: z.addDescription(z.literal('deployment'), 'Always `deployment`.'),
  restored: z.addDescription(z.literal(true), 'Always `true`: the backup is restored.'),
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
        'What they have spent is told within a minute. Sorted otherwise than by name, `first_id` and `last_id` also have the value that was sorted by, so a page goes on where the page before it has ended, whatever was spent meanwhile.',
      answer: describePageResponse(
        createNamedListSchema('AccountList', accountSpendRow),
        spendRow,
        'alice',
        'A page of them.',
      ),
    },
  }),
};

export const groups: ApiResource = {
  tag: 'Groups',
  description:
    'Budgets that the accounts of a group share. An account is in the group that an admin has chosen, or in the one that the claim JWT_GROUP_CLAIM of its credential names.',
  parameters: {
    id: { description: 'The group, 1 to 128 characters.', example: 'research' },
    account: { description: 'The account, 1 to 128 characters.', example: 'alice' },
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
        'A page of them, in the order of their names, with where each stands.',
      ),
    },
    'GET /groups/:id': {
      operation: 'getGroup',
      summary: 'Retrieve a group’s limits and spending',
      answer: describeGroupResponse('Its limits, and what its accounts have spent and leased.'),
    },
    'PUT /groups/:id/limits': {
      operation: 'setGroupLimits',
      summary: 'Replace the limits of a group',
      description: 'A lowered limit is felt within a minute: what accounts have leased may be used for so long.',
      body: limitsBody,
      answer: describeGroupResponse('The account under the new limits.'),
    },
    'PATCH /groups/:id/limits': {
      operation: 'changeGroupLimits',
      summary: 'Change some limits of a group',
      description: 'Null removes a limit; absent limits do not change.',
      body: { id: 'PoolLimitsPatch', example: { usd_per_day: 80, usd_per_week: null } },
      answer: describeGroupResponse('The account under the new limits.'),
    },
    'GET /groups/:id/backup': {
      operation: 'backUpGroup',
      summary: 'Back up the budget of a group',
      description: 'Its limits, with their alerts, and what its accounts have spent in each window.',
      answer: describeJsonResponse('The backup.', groupBackupSchema, groupBackupExample),
    },
    'PUT /groups/:id/backup': {
      operation: 'restoreGroup',
      summary: 'Restore the budget of a group',
      description: `${RESTORED_POOL} A group that has other limits here is a 409.`,
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
      description: 'Its accounts stay in it until they are moved.',
      answer: describeGroupResponse('Where it stands without limits.'),
    },
    'GET /groups/:id/accounts': {
      operation: 'listGroupAccounts',
      summary: 'List the accounts of a group by spending',
      answer: describePageResponse(
        createNamedListSchema('AccountSpendList', accountSpendRow),
        spendRow,
        'alice',
        'A page of those that have asked for something, the dearest first.',
      ),
    },
    'PUT /groups/:id/accounts/:account': {
      operation: 'putGroupAccount',
      summary: 'Add an account to a group',
      description: 'Whatever its credentials say. Requests that run stay with the group before.',
      answer: describeMembershipResponse('It is in this group.', 'research'),
    },
    'DELETE /groups/:id/accounts/:account': {
      operation: 'deleteGroupAccount',
      summary: 'Remove an account from a group',
      description: 'Then its credentials say in which group it is. One that is in another group stays there.',
      answer: describeMembershipResponse('No group is chosen for it.', null),
    },
  }),
};

export const deploymentPools: ApiResource = {
  tag: 'Deployment',
  description: 'What all accounts have spent, and the budget that they share where the setting DEPLOYMENT_LIMITS is.',
  errors: [503],
  routes: describeRoutes(DEPLOYMENT_ROUTES, {
    'GET /pools/deployment': {
      operation: 'getDeploymentPool',
      summary: 'Retrieve the deployment’s limits and spending',
      description: 'Without the setting DEPLOYMENT_LIMITS accounts share no budget: then `limits` is null.',
      answer: describeDeploymentResponse('Its limits, and what all accounts have spent and leased.'),
    },
    'PUT /pools/deployment/limits': {
      operation: 'setDeploymentLimits',
      summary: 'Replace the limits of the deployment',
      description: 'They win over the setting. A lowered limit is felt within a minute.',
      body: limitsBody,
      answer: describeDeploymentResponse('The account under the new limits.'),
    },
    'PATCH /pools/deployment/limits': {
      operation: 'changeDeploymentLimits',
      summary: 'Change some limits of the deployment',
      description: 'A limit of `null` is removed. Limits that the request does not name stay, and so do the alerts.',
      body: { id: 'PoolLimitsPatch', example: { usd_per_day: 80 } },
      answer: describeDeploymentResponse('The account under the new limits.'),
    },
    'GET /pools/deployment/backup': {
      operation: 'backUpDeploymentPool',
      summary: 'Back up the budget of the deployment',
      description:
        'Its limits, with their alerts, and what erased accounts and visitors have spent in each window. Accounts have backups of what they spent.',
      answer: describeJsonResponse('The backup.', deploymentBackupSchema, deploymentBackupExample),
    },
    'PUT /pools/deployment/backup': {
      operation: 'restoreDeploymentPool',
      summary: 'Restore the budget of the deployment',
      description: `${RESTORED_POOL} If the limits were set to others here, it is a 409. It needs the setting DEPLOYMENT_LIMITS.`,
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
