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
  group: null,
  revoked_before: 0,
  credits: [],
  tokens: [],
  days: [],
};
const backupSchema = z.addReferenceMeta(accountBackup, { id: 'AccountBackup' });
const restoredAnswer = z.addReferenceMeta(
  z.extend(accountRow, { restored: z.addDescription(z.literal(true), 'Always `true`: the backup is restored.') }),
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
        'Its limits, group, credit, revoked tokens, and what it has spent on each day. Not its requests one by one.',
      answer: describeJsonResponse('The backup.', backupSchema, backup),
    },
    'PUT /accounts/:id/backup': {
      operation: 'restoreAccount',
      summary: 'Restore an account',
      description:
        'What was spent keeps its day and is called `(imported)`: it counts in the windows that the day is in. The same backup may be sent again. An account that has spent something here or was given something is a 409 without `mode=merge`, one with a running request a 409 with it, and one that was erased here after the backup was made is always a 409.',
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
      description: 'As `GET /conversations` lists one’s own.',
      answer: describePageResponse(conversationList, conversationExample, conversationExample.id),
      errors: [],
    },
    'GET /accounts/:id/conversations/:conversation/backup': {
      operation: 'backUpConversation',
      summary: 'Back up a conversation',
      description:
        'All that its next turn needs: history, calls of tools, agent, the version of its prefix. A turn that runs and calls that wait for approval are not in it. The last line is `["end",null]`, or something went wrong.',
      answer: { description: 'JSON lines, to be sent back unchanged.', content: [backupContent] },
    },
    'PUT /accounts/:id/conversations/:conversation/backup': {
      operation: 'restoreConversation',
      summary: 'Restore a conversation',
      description:
        'All of it, or nothing. The version of the prefix that it holds must be there first. Its retention begins now. One that is there already, or was erased with its account after it began, is a 409.',
      body: backupContent,
      answers: { 201: createConversationResponseReference('The conversation, whose next message is answered.') },
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
    version: { description: 'A version: name@version. Reading takes a name too.', example: version },
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
        'A page of them, each with its current version.',
      ),
    },
    'GET /versions/:kind/:version/backup': {
      operation: 'backUpVersion',
      summary: 'Back up a version of a prefix, classifier or agent',
      description: 'As it is stored, with what is secret in it. What was withdrawn is a 409.',
      answer: describeJsonResponse('The backup.', versionSchema, versionExample),
      errors: [409],
    },
    'PUT /versions/:kind/:version/backup': {
      operation: 'restoreVersion',
      summary: 'Restore a version by its hash',
      description:
        'A name that is here stays where it points. May be repeated. What was withdrawn here, or erased with its account, is a 409, and content of another hash a 400.',
      body: { schema: versionSchema, example: versionExample },
      answer: describeJsonResponse('It is here.', z.addReferenceMeta(restoredVersion, { id: 'RestoredVersion' }), {
        type: 'version_restored',
        kind: 'prefix',
        version,
      }),
      errors: [409],
    },
  }),
};
