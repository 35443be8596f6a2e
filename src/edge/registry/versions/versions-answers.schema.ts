import { createObjectTypeSchema, time } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

/** A name in a list. */
export const nameRow = z.object({
  type: z.addDescription(z.string(), 'What the name is for: `prefix`, `classifier` or `agent`.'),
  name: z.addDescription(z.string(), 'The name.'),
  version: z.addDescription(z.string(), 'The current version, `name@version`.'),
  owner: z.addDescription(
    z.enum(['account', 'deployment']),
    'Who stored it: the `account`, or an admin for the whole `deployment`.',
  ),
  description: z.addDescription(
    z.nullable(z.string()),
    'The description of the current version. Null if the version has no description.',
  ),
  bytes: z.addDescription(z.int(), 'The size of the current version in bytes.'),
  created_at: z.addDescription(time, 'When the current version was first stored; ISO 8601, UTC.'),
  updated_at: z.addDescription(time, 'When the name was last changed; ISO 8601, UTC.'),
});

/** The members that every stored version has in answers, before its content. */
export function createStoredVersionFields<Kind extends string>(kind: Kind) {
  return {
    type: createObjectTypeSchema(kind),
    name: z.addDescription(z.string(), 'The name under which the version is stored.'),
    version: z.addDescription(
      z.string(),
      'The name and the hash of the content, `name@version`. The content of a version never changes.',
    ),
    owner: nameRow.shape.owner,
  };
}

/** A version in the history of a name. */
export const versionRow = z.object({
  type: z.addDescription(z.string(), 'The type of the object, such as `prefix_version`.'),
  version: z.addDescription(z.string(), 'The name and the hash of the content, `name@version`.'),
  current: z.addDescription(z.boolean(), 'Whether the name points to this version.'),
  pinned: z.addDescription(z.boolean(), 'Whether callers can use this version although it is not current.'),
  description: z.addDescription(
    z.nullable(z.string()),
    'The description of the version. Null if the version has no description.',
  ),
  bytes: z.addDescription(z.int(), 'The size of the version in bytes.'),
  created_at: z.addDescription(time, 'When the version was first stored; ISO 8601, UTC.'),
});

export const versionWithdrawn = z.object({
  type: z.addDescription(z.string(), 'The type of the object, such as `prefix_version_withdrawn`.'),
  version: z.addDescription(z.string(), 'The withdrawn version, `name@version`. No one can use it any more.'),
});

export type VersionOwner = z.output<typeof nameRow>['owner'];
export type NamedResourceRow = z.output<typeof nameRow>;
export type VersionRow = z.output<typeof versionRow>;
