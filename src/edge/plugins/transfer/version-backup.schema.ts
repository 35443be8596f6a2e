import { instant } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { parseVersionRef } from '../../kit/kv/version-ref.ts';

export const versionOwner = z.object({
  account: z.addDescription(z.optional(z.string()), 'The account that has stored it. Without it: the deployment.'),
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
  type: z.literal('version_backup'),
  kind: z.enum(['prefix', 'classifier', 'agent']),
  account: z.addDescription(z.nullable(z.string()), 'The account that has stored it; null for the deployment.'),
  version: z
    .string()
    .check(z.refine((ref) => parseVersionRef(ref)?.hash !== undefined, 'Input should be name@version')),
  current: z.addDescription(
    z.boolean(),
    'Whether its name points to it. A name that is not here yet points to it too.',
  ),
  stored_at: z.addDescription(instant, 'When it was stored; milliseconds since 1970.'),
  content: z.looseObject({}),
});

/** A name, and the version that it points to. */
export const storedName = z.object({ type: z.string(), id: z.string(), version: z.string() });

export const restoredVersion = z.object({ type: z.literal('version_restored'), kind: z.string(), version: z.string() });
