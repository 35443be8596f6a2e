import {
  conversationExample,
  conversationId,
  conversationList,
  createConversationResponseReference,
} from '../../conversations/object/conversations.reference.ts';
import * as z from '../../kit/http/zod.ts';
import { accountId } from '../../money/account/accounts.reference.ts';
import { accountRow } from '../../money/account/usage-answers.schema.ts';
import { type ApiResource, describeRoutes } from '../../openapi/resource.ts';
import {
  createNamedListSchema,
  describeJsonLinesContent,
  describeJsonResponse,
  describePageResponse,
} from '../../openapi/responses.ts';
import { ACCOUNT_BACKUP_ROUTES } from './account-backup.route.ts';
import { accountBackup } from './account-backup.schema.ts';
import { CONVERSATION_BACKUP_ROUTES } from './conversation-backup.route.ts';
import { VERSION_BACKUP_ROUTES } from './version-backup.route.ts';
import { restoredVersion, storedName, versionBackup } from './version-backup.schema.ts';

const backup = {
  type: 'account_backup',
  id: 'alice',
  taken_at: 1_795_168_800_000,
  limits: { usd_per_day: 0.5, requests_per_minute: 60 },
  block: null,
  group: null,
  revoked_before: 0,
  credits: [],
  tokens: [],
  days: [],
};
const backupSchema = z.addReferenceMeta(accountBackup, { id: 'AccountBackup' });
const restoredAnswer = z.addReferenceMeta(
  z.extend(accountRow, {
    restored: z.addDescription(z.literal(true), 'Always `true`, because the backup is restored.'),
  }),
  {
    id: 'RestoredAccount',
  },
);
const backupContent = describeJsonLinesContent([
  [
    'profile',
    {
      createdAt: 1_795_082_400_000,
      title: 'A talk',
      metadata: null,
      model: 'claude-haiku-5-5',
      maxTokens: 2_048,
      prefix: null,
      agent: null,
      retentionSeconds: null,
      history: null,
      sentFrom: 0,
      cost: 7_400,
      inputTokens: 14,
      outputTokens: 12,
    },
  ],
  ['end', null],
]);

export const accountBackups: ApiResource = {
  tag: 'Accounts',
  parameters: { id: accountId },
  routes: describeRoutes(ACCOUNT_BACKUP_ROUTES, {
    'GET /accounts/:id/backup': {
      operation: 'backUpAccount',
      summary: 'Back up an account',
      description:
        'Contains the limits, group, credit, revoked tokens and daily spending of the account, but not its individual requests.',
      answer: describeJsonResponse('The backup.', backupSchema, backup),
    },
    'PUT /accounts/:id/backup': {
      operation: 'restoreAccount',
      summary: 'Restore an account',
      description:
        'Restored spending keeps its day, counts in the windows of that day, and is listed as `(imported)`. You can send the same backup again. Returns a 409 in three cases: the account is already in use and `mode=merge` is absent, a request is running during a merge, or the account was erased after the backup was made.',
      body: { schema: backupSchema, example: backup },
      answer: describeJsonResponse('Confirms that the account is restored.', restoredAnswer, {
        type: 'account',
        id: 'alice',
        restored: true,
      }),
      errors: [409],
    },
  }),
};

export const conversationBackups: ApiResource = {
  tag: 'Conversations',
  parameters: {
    id: conversationId,
    conversation: { description: 'The id of a conversation.', example: 'talk' },
  },
  errors: [503],
  routes: describeRoutes(CONVERSATION_BACKUP_ROUTES, {
    'GET /accounts/:id/conversations': {
      operation: 'listConversationsOf',
      summary: 'List the conversations of an account, newest first',
      description: 'The same list as `GET /conversations`, for any account.',
      answer: describePageResponse(conversationList, conversationExample, conversationExample.id),
      errors: [],
    },
    'GET /accounts/:id/conversations/:conversation/backup': {
      operation: 'backUpConversation',
      summary: 'Back up a conversation',
      description:
        'Contains all that the next turn needs: the history, tool calls, the agent and the version of the prefix. A running turn and calls that wait for approval are not included. The backup is complete only if the last line is `["end",null]`.',
      answer: {
        description: 'JSON lines. To restore the conversation, send them back unchanged.',
        content: [backupContent],
      },
    },
    'PUT /accounts/:id/conversations/:conversation/backup': {
      operation: 'restoreConversation',
      summary: 'Restore a conversation',
      description:
        'Restores either the whole conversation or nothing. Restore the version of its prefix first. The retention period starts now. A conversation that already exists, or that was erased with its account, returns a 409.',
      body: backupContent,
      answers: { 201: createConversationResponseReference('The restored conversation.') },
      errors: [409, 503],
    },
  }),
};

const version = 'support@79259777f7554d9e1cc358d62a7878bb';
const versionExample = {
  type: 'version_backup',
  kind: 'prefix',
  account: null,
  version,
  current: false,
  stored_at: 1_795_082_400_000,
  content: { tools: [], system: [{ type: 'text', text: 'Be kind.' }], messages: [], cache_ttl: '5m' },
};
const versionSchema = z.addReferenceMeta(versionBackup, { id: 'VersionBackup' });

export const versionBackups: ApiResource = {
  tag: 'Prefixes',
  parameters: {
    kind: { description: '`prefix`, `classifier` or `agent`.', example: 'prefix' },
    version: {
      description: 'The version, `name@version`. To read the current version, the name is enough.',
      example: version,
    },
  },
  errors: [503],
  routes: describeRoutes(VERSION_BACKUP_ROUTES, {
    'GET /versions/:kind': {
      operation: 'listStoredNames',
      summary: 'List the stored names of an account or the deployment',
      answer: describePageResponse(
        createNamedListSchema('StoredNameList', storedName),
        { type: 'prefix', id: 'support', version },
        'support',
        'A page of the names, each with its current version.',
      ),
    },
    'GET /versions/:kind/:version/backup': {
      operation: 'backUpVersion',
      summary: 'Back up a version of a prefix, classifier or agent',
      description: 'Returns the version as it is stored, including its secrets. A withdrawn version returns a 409.',
      answer: describeJsonResponse('The backup.', versionSchema, versionExample),
      errors: [409],
    },
    'PUT /versions/:kind/:version/backup': {
      operation: 'restoreVersion',
      summary: 'Restore a version by its hash',
      description:
        'An existing name keeps its current version. You can repeat the request. A version that was withdrawn or erased with its account returns a 409, and content with another hash a 400.',
      body: { schema: versionSchema, example: versionExample },
      answer: describeJsonResponse(
        'The version is restored.',
        z.addReferenceMeta(restoredVersion, { id: 'RestoredVersion' }),
        {
          type: 'version_restored',
          kind: 'prefix',
          version,
        },
      ),
      errors: [409],
    },
  }),
};
