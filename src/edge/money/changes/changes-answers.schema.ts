/** One change in the list of what admins have changed. */

import { createObjectTypeSchema, time } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { CHANGE_KINDS } from './change-kinds.ts';

const subjectType = z.enum([
  'account',
  'group',
  'deployment',
  'token',
  'agent',
  'classifier',
  'prefix',
  'event',
  'webhook',
]);

/** The subject of a change. */
const changeSubject = z.object({
  type: z.addDescription(subjectType, 'The kind of object that was changed.'),
  id: z.addDescription(z.nullable(z.string()), 'The name or id of the object. Null if its account was erased.'),
  account: z.createOptionalField(
    z.nullable(z.string()),
    'The account that owns a token, an agent, a classifier, a prefix or an event. Null for the deployment’s, and if the account was erased.',
  ),
});

/** One change in the list. */
export const changeRow = z.object({
  type: createObjectTypeSchema('change'),
  id: z.addDescription(z.string(), 'The id of the change.'),
  created_at: z.addDescription(time, 'When the change was made; ISO 8601, UTC.'),
  request_id: z.addDescription(z.string(), 'The id of the request that made the change, as in the log.'),
  kind: z.addDescription(z.enum(CHANGE_KINDS), 'What was done.'),
  actor: z.addDescription(
    z.object({
      account: z.addDescription(
        z.nullable(z.string()),
        'The account that made the change. Null if the account was erased.',
      ),
      token: z.addDescription(
        z.nullable(z.string()),
        'The `jti` of the token that made the change. Null if no token was needed, or if the account was erased.',
      ),
    }),
    'The admin who made the change.',
  ),
  subject: z.addDescription(changeSubject, 'What was changed.'),
  changes: z.addDescription(
    z.record(
      z.string(),
      z.object({
        from: z.addDescription(z.unknown(), 'The value before.'),
        to: z.addDescription(z.unknown(), 'The value after.'),
      }),
    ),
    'The changed fields, each with its value before and after. Null stands for no value. Versions are hashes; texts are not included.',
  ),
});

export type ChangeRow = z.output<typeof changeRow>;
export type ChangeSubject = z.output<typeof changeSubject>;

/** The kinds of versioned resources. */
export type VersionedKind = 'agent' | 'classifier' | 'prefix';
