import { createObjectTypeSchema, instant } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { parseVersionRef } from '../../kit/kv/version-ref.ts';

export const versionOwner = z.object({
  account: z.addDescription(z.optional(z.string()), 'The account that stored the version. Default: the deployment.'),
});

const items = z.array(z.looseObject({}));
const system = z.optional(z.union([z.string(), items]));

/** What each kind has in every version that was ever stored: without it nothing could be made of the version. */
export const storedShapes = {
  prefix: z.looseObject({ tools: items, system, messages: items }),
  classifier: z.looseObject({
    labels: z.array(z.union([z.string(), z.looseObject({ name: z.string() })])),
  }),
  agent: z.looseObject({
    model: z.union([z.string(), z.looseObject({ by: z.string(), models: z.looseObject({}), otherwise: z.string() })]),
    max_tokens: z.int(),
    system,
    tools: items,
    limits: z.looseObject({}),
  }),
};

/** The backup of a version, whose content is as it is stored: its hash is of these bytes. */
export const versionBackup = z.strictObject({
  type: createObjectTypeSchema('version_backup'),
  kind: z.addDescription(
    z.enum(['prefix', 'classifier', 'agent']),
    'What the version is: `prefix`, `classifier` or `agent`.',
  ),
  account: z.addDescription(
    z.nullable(z.string()),
    'The account that stored the version. Null if an admin stored it for the deployment.',
  ),
  version: z.addDescription(
    z.string().check(z.refine((ref) => parseVersionRef(ref)?.hash !== undefined, 'Input should be name@version')),
    'The name and the hash of the content: `name@version`.',
  ),
  current: z.addDescription(
    z.boolean(),
    'Whether the name points to this version. When it is restored, a new name also points to it.',
  ),
  stored_at: z.addDescription(instant, 'When the version was stored; milliseconds since 1970.'),
  content: z.addDescription(
    z.looseObject({}),
    'The stored content, unchanged: the hash in `version` is computed from it.',
  ),
});

/** A name, and the version that it points to. */
export const storedName = z.object({
  type: z.addDescription(z.string(), 'What the name is for: `prefix`, `classifier` or `agent`.'),
  id: z.addDescription(z.string(), 'The name.'),
  version: z.addDescription(z.string(), 'The current version, `name@version`.'),
});

export const restoredVersion = z.object({
  type: createObjectTypeSchema('version_restored'),
  kind: z.addDescription(z.string(), 'What the version is: `prefix`, `classifier` or `agent`.'),
  version: z.addDescription(z.string(), 'The restored version, `name@version`.'),
});
