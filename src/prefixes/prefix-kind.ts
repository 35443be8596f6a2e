import { notFound } from '../http/errors.ts';
import type { StoredKind } from '../versions/find-stored.ts';
import { type Prefix, readPrefix } from './prefix.ts';

/** How prefixes are stored in versions. */
export const PREFIXES: StoredKind<Prefix> = {
  kind: 'prefix',
  read: readPrefix,
  held: ({ held }) => held,
  unknown: (ref) =>
    notFound(`There is no prefix ${ref}. Store one with PUT /prefixes/:name, or list them with GET /prefixes.`),
};
