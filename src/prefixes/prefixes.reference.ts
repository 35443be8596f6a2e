import { daysQuery } from '../accounts/usage.schema.ts';
import { pageSchema } from '../http/page.ts';
import * as z from '../http/zod.ts';
import type { Resource } from '../reference/resource.ts';
import { nameList, versionList } from '../versions/versions.reference.ts';
import { putPrefix } from './prefixes.schema.ts';
import { prefixAnswer, prefixContent, prefixDeleted, prefixStats } from './prefixes-answers.schema.ts';

const version = 'support@e53125914ba65717eeaabaa926446a5b';
const row = {
  type: 'prefix',
  name: 'support',
  version,
  owner: 'account',
  description: 'How Acme answers',
  bytes: 98,
  created_at: '2026-11-20T10:06:16.310Z',
  updated_at: '2026-11-20T10:06:16.310Z',
};
const versionExample = {
  type: 'prefix_version',
  version,
  current: true,
  description: 'How Acme answers',
  bytes: 98,
  created_at: '2026-11-20T10:06:16.310Z',
};
const fields = {
  system: 'You answer for Acme, in one sentence.',
  model: 'claude-haiku-5-5',
  max_tokens: 200,
  cache_ttl: '1h',
  description: 'How Acme answers',
};
const savings = {
  requests: 10,
  answered: 10,
  cache_writes: 1,
  cache_reads: 9,
  hit_rate: 0.9,
  input_tokens: 120,
  cache_read_input_tokens: 45_000,
  cache_write_5m_input_tokens: 0,
  cache_write_1h_input_tokens: 5_000,
  tokens_saved: 45_000,
  saved_usd: 0.00355,
};

export const prefixes: Resource = {
  tag: 'Prefixes',
  description: 'Beginnings of prompts, stored by version, so that the prompt cache hits.',
  parameters: { name: { description: 'Its name; where it is read, `name@version` too.', example: 'support' } },
  routes: {
    'GET /prefixes': {
      operation: 'listPrefixes',
      summary: 'List the prefixes that one can use',
      needs: 'messages',
      query: pageSchema,
      answers: {
        200: {
          description: 'A page of them, in the order of their names.',
          content: [
            {
              schema: nameList,
              example: { data: [row], has_more: false, first_id: 'support', last_id: 'support' },
            },
          ],
        },
      },
    },
    'PUT /prefixes/:name': {
      operation: 'putPrefix',
      summary: 'Store a version, or point the name at one',
      description: 'What an admin stores is the deployment’s, for every account.',
      needs: 'prefixes',
      body: {
        schema: z.withMeta(
          z.union([
            z.withMeta(putPrefix.fields, { id: 'PrefixFields' }),
            z.withMeta(putPrefix.pointer, { id: 'PrefixPointer' }),
          ]),
          { id: 'PrefixRequest' },
        ),
        example: fields,
      },
      answers: {
        200: {
          description: 'What the version comes to, and whether caching it pays.',
          content: [
            {
              schema: z.withMeta(prefixAnswer, { id: 'PrefixReport' }),
              example: {
                type: 'prefix',
                name: 'support',
                version,
                model: 'claude-haiku-5-5',
                input_tokens: 9,
                minimum_cacheable_tokens: 4_096,
                warnings: [
                  'This prefix has 9 tokens, and claude-haiku-5-5 caches from 4096 on: by itself it is not cached.',
                ],
                notes: ['Tools come before system and messages in what the upstream caches.'],
                cost_usd: { cold: 9e-7, write: 1.8e-6, read: 9e-8 },
                pays_from_requests: null,
              },
            },
          ],
        },
      },
      errors: [429, 503, 504, 529],
    },
    'GET /prefixes/:name': {
      operation: 'getPrefix',
      summary: 'Read a version',
      needs: 'messages',
      answers: {
        200: {
          description: 'All that it is made of.',
          content: [
            {
              schema: z.withMeta(prefixContent, { id: 'Prefix' }),
              example: { type: 'prefix', name: 'support', version, owner: 'account', ...fields },
            },
          ],
        },
      },
      errors: [503],
    },
    'GET /prefixes/:name/versions': {
      operation: 'listPrefixVersions',
      summary: 'Page through its versions, newest first',
      needs: 'messages',
      query: pageSchema,
      answers: {
        200: {
          description: 'A page of them.',
          content: [
            {
              schema: versionList,
              example: { data: [versionExample], has_more: false, first_id: version, last_id: version },
            },
          ],
        },
      },
    },
    'GET /prefixes/:name/stats': {
      operation: 'getPrefixStats',
      summary: 'See what caching it has saved',
      needs: 'messages',
      query: daysQuery,
      answers: {
        200: {
          description: 'By day and version.',
          content: [
            {
              schema: z.withMeta(prefixStats, { id: 'PrefixStats' }),
              example: {
                name: 'support',
                owner: 'account',
                from: null,
                to: null,
                data: [{ day: '2026-11-20', version, ...savings }],
                total: savings,
              },
            },
          ],
        },
      },
    },
    'DELETE /prefixes/:name': {
      operation: 'deletePrefix',
      summary: 'Delete a prefix',
      description: 'Its versions stay for those who name them: `name@version`.',
      needs: 'prefixes',
      answers: {
        200: {
          description: 'It is gone.',
          content: [{ schema: prefixDeleted, example: { type: 'prefix_deleted', name: 'support' } }],
        },
      },
      errors: [503],
    },
  },
};
