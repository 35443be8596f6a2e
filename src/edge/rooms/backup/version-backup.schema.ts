import * as z from '../../kit/http/zod.ts';
import { parseRef } from '../../named/versions/version-ref.ts';

export const versionOwner = z.object({
  account: z.described(z.optional(z.string()), 'The account that has stored it. Without it: the deployment.'),
});

/** The backup of a version, whose content is as it is stored: its hash is of these bytes. */
export const versionBackup = z.strictObject({
  type: z.literal('version_backup'),
  kind: z.enum(['prefix', 'classifier', 'agent']),
  account: z.described(z.nullable(z.string()), 'The account that has stored it; null for the deployment.'),
  version: z.string().check(z.refine((ref) => parseRef(ref)?.hash !== undefined, 'Input should be name@version')),
  current: z.described(z.boolean(), 'Whether its name points to it. A name that is not here yet points to it too.'),
  content: z.looseObject({}),
});

export const restoredVersion = z.object({ type: z.literal('version_restored'), kind: z.string(), version: z.string() });
