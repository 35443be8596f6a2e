import * as z from '../../kit/http/zod.ts';
import type { ApiResource } from '../../openapi/resource.ts';
import { describeJsonResponse } from '../../openapi/responses.ts';
import { createParameterDescriptions, createVersionedRoutesReference } from '../versions/versions.reference.ts';
import { PREFIX_ROUTES } from './prefixes.route.ts';
import { putPrefix } from './prefixes.schema.ts';
import { prefixAnswer, prefixContent, prefixDeleted } from './prefixes-answers.schema.ts';

const version = 'support@e53125914ba65717eeaabaa926446a5b';
const fields = {
  system: 'You answer for Acme, in one sentence.',
  model: 'claude-haiku-5-5',
  max_tokens: 2_048,
  cache_ttl: '1h',
  description: 'How Acme answers',
};

export const prefixes: ApiResource = {
  tag: 'Prefixes',
  description: 'The first part of prompts, stored in versions, so that requests share the upstream’s prompt cache.',
  parameters: createParameterDescriptions('support'),
  routes: {
    ...createVersionedRoutesReference(PREFIX_ROUTES, {
      kind: 'prefix',
      title: 'Prefix',
      plural: 'prefixes',
      example: { name: 'support', version, description: 'How Acme answers', bytes: 98 },
      put: {
        schemas: putPrefix,
        example: fields,
        answer: describeJsonResponse(
          'The stored version, with its token count and the cost with and without caching.',
          z.addReferenceMeta(prefixAnswer, { id: 'PrefixReport' }),
          {
            type: 'prefix',
            name: 'support',
            version,
            model: 'claude-haiku-5-5',
            input_tokens: 9,
            minimum_cacheable_tokens: 512,
            warnings: [
              'This prefix has 9 tokens, but claude-haiku-5-5 caches at least 512. The prefix is cached only together with messages.',
            ],
            notes: ['Tools come before system and messages in the upstream’s cache.'],
            cost_usd: { cold: 9e-7, write: 1.8e-6, read: 9e-8 },
            pays_from_requests: null,
          },
        ),
        errors: [429, 503, 504, 529],
      },
      content: {
        schema: z.addReferenceMeta(prefixContent, { id: 'Prefix' }),
        example: { type: 'prefix', name: 'support', version, owner: 'account', ...fields },
      },
      deleted: prefixDeleted,
      remove: {
        summary: 'Delete a prefix',
        description: 'The versions of the prefix remain available as `name@version`.',
      },
    }),
  },
};
