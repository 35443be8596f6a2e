import { createObjectTypeSchema, time } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';

/** A name in a list. */
export const nameRow = z.object({
  type: z.addDescription(z.string(), 'What it names: `prefix`.'),
  name: z.string(),
  version: z.addDescription(z.string(), 'name@version, to which the name points.'),
  owner: z.enum(['account', 'deployment']),
  description: z.nullable(z.string()),
  bytes: z.int(),
  created_at: z.addDescription(time, 'When the version was first put.'),
  updated_at: z.addDescription(time, 'When the name was last pointed somewhere.'),
});

/** The members that every stored version has in answers, before its content. */
export function createStoredVersionFields<Kind extends string>(kind: Kind) {
  return {
    type: createObjectTypeSchema(kind),
    name: z.string(),
    version: z.addDescription(z.string(), 'name@version: for ever the same.'),
    owner: nameRow.shape.owner,
  };
}

/** A version in the history of a name. */
export const versionRow = z.object({
  type: z.addDescription(z.string(), '`prefix_version`.'),
  version: z.string(),
  current: z.boolean(),
  pinned: z.addDescription(
    z.boolean(),
    'Whether everybody who sees the name may ask for it, though it is not current.',
  ),
  description: z.nullable(z.string()),
  bytes: z.int(),
  created_at: time,
});

export const versionWithdrawn = z.object({
  type: z.addDescription(z.string(), '`prefix_version_withdrawn`.'),
  version: z.addDescription(z.string(), 'name@version, which nobody can use any more.'),
});

export type VersionOwner = z.output<typeof nameRow>['owner'];
export type NamedResourceRow = z.output<typeof nameRow>;
export type VersionRow = z.output<typeof versionRow>;
